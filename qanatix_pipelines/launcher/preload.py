"""What a run would load is loaded beforehand, and whether it still is what the files say."""

import importlib
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dagster import DagsterInstance

import qanatix_pipelines
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.store.opening import open_store

_DEFINITIONS = "qanatix_pipelines.definitions"
# What runs import when they first use it. Where a later release calls one otherwise, runs are only slower.
_LATE = (
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.workspace.autodiscovery",
    "dagster._utils.test.definitions",
    "sqlglot.dialects.mysql",
    "sqlglot.dialects.postgres",
)
_CODE = Path(qanatix_pipelines.__file__).parent
_CANARY_SECONDS = 30


def check_environment() -> None:
    """Raise SettingsError or StoreNotReady if runs could not work with this environment and its store.

    One that is away may come back.
    """
    with suppress(StoreUnavailable):
        open_store(read_settings()).engine.dispose()


def definitions() -> None:
    """Load the definitions, and with them all that runs import. Raises whatever that raises."""
    importlib.import_module(_DEFINITIONS).defs.get_repository_def()
    for name in _LATE:
        with suppress(ImportError):
            importlib.import_module(name)


def edition() -> frozenset[tuple[str, int, int]]:
    """Another one after each change of our own code: its files, when they were written, and their sizes."""
    found = []
    for file in _CODE.rglob("*.py"):
        told = file.stat()
        found.append((str(file), told.st_mtime_ns, told.st_size))
    return frozenset(found)


def touch(instance: DagsterInstance) -> None:
    """Have the storages of runs and of events look at their tables, which they do when they are first asked."""
    instance.get_runs_count()
    instance.get_dynamic_partitions("none")


def check_forks() -> None:
    """Raise RuntimeError if a forked process cannot use Polars, whose threads do not outlive a fork."""
    if _said_by(_canary) != "3":
        raise RuntimeError("A forked process cannot use Polars on this machine.")


def _canary() -> str:
    import polars as pl

    frame = pl.DataFrame({"n": [1, 1, 2], "of": ["a", "b", "c"]})
    return str(frame.lazy().group_by("n").agg(pl.len()).select(pl.col("len").sum()).collect().item())


def _said_by(work: Callable[[], str]) -> str:
    """What `work` returns in a process of its own; nothing if that fails, or takes too long."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(_CANARY_SECONDS)
            os.close(reads)
            with os.fdopen(writes, "w") as told:
                told.write(work())
            code = 0
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    return said if status == 0 else ""
