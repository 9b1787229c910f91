"""A driver as its other users have it: without anything of ours in it; and one that lacks a name which we need."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

OURS = "qanatix_pipelines."


def traces_in(*drivers: str) -> list[str]:
    """Names in the modules and classes of these drivers that hold something of our packages."""
    return sorted(name for driver in drivers for name, value in _names_of(driver) if _is_ours(value))


def _names_of(driver: str) -> Iterator[tuple[str, Any]]:
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == driver]:
        for name, value in vars(module).items():
            yield f"{module.__name__}.{name}", value
            if isinstance(value, type) and value.__module__.partition(".")[0] == driver:
                for inner, held in vars(value).items():
                    yield f"{module.__name__}.{name}.{inner}", held


def _is_ours(value: Any) -> bool:
    parts = [value, type(value), getattr(value, "fget", None), getattr(value, "__wrapped__", None)]
    if isinstance(value, dict):
        parts += value.values()
    return any(str(getattr(part, "__module__", "")).startswith(OURS) for part in parts)


def told_without(connector_type: str, module: str, name: str) -> str:
    """What a process says that reads such a source with a driver whose module has no such name."""
    code = (
        f"import importlib, operator\n"
        f"owner, _, name = {name!r}.rpartition('.')\n"
        f"module = importlib.import_module({module!r})\n"
        f"delattr(operator.attrgetter(owner)(module) if owner else module, name)\n"
        f"import qanatix_pipelines.sources.{connector_type}.reading\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    return process.stderr.strip().splitlines()[-1]
