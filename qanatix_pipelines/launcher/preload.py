"""Loads beforehand what a run would load, and tells whether the files have changed since."""

import importlib
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dagster import DagsterInstance

import qanatix_pipelines
from qanatix_pipelines import sources
from qanatix_pipelines.errors import StoreUnavailable
from qanatix_pipelines.launcher import storage
from qanatix_pipelines.libraries import LibraryChanged
from qanatix_pipelines.settings import read_settings
from qanatix_pipelines.store.opening import open_store

log = logging.getLogger("qanatix.worker")

_DEFINITIONS = "qanatix_pipelines.definitions"
# Modules that a run imports late. If a later release renames one, runs are only slower.
_LATE = (
    "dagster._core.execution.plan.active",
    "dagster._core.executor.in_process",
    "dagster._core.workspace.autodiscovery",
    "dagster._utils.test.definitions",
    "pgpq",
    "pyarrow",  # which Polars gives its frames to
    "sqlglot.dialects.mysql",
    "sqlglot.dialects.postgres",
)
_CODE = Path(qanatix_pipelines.__file__).parent
_CANARY_SECONDS = 30


def check_environment() -> None:
    """Raise SettingsError or StoreNotReady if runs cannot work with this environment and its store.

    A store that is away may come back, so that is no error.
    """
    with suppress(StoreUnavailable):
        open_store(read_settings()).engine.dispose()


def definitions() -> None:
    """Load the definitions and all that runs import. Raises whatever the load raises."""
    importlib.import_module(_DEFINITIONS).defs.get_repository_def()
    for name in _LATE:
        with suppress(ImportError):
            importlib.import_module(name)
    _drivers()


def _drivers() -> None:
    """Load the driver of each connector type. Where one does not load, the runs of its type say why."""
    for connector_type in sources.connector_types():
        try:
            importlib.import_module(f"{sources.__name__}.{connector_type}.reading")
        except (ImportError, LibraryChanged) as error:
            log.warning("Connectors of the type %s cannot be read: %s", connector_type, error)


def edition() -> frozenset[tuple[str, int, int]]:
    """Our own files with their times and sizes. It differs after each change of our code."""
    found = []
    for file in _CODE.rglob("*.py"):
        told = file.stat()
        found.append((str(file), told.st_mtime_ns, told.st_size))
    return frozenset(found)


def touch(instance: DagsterInstance) -> None:
    """Have Dagster do now what it does at the first request: look at its tables, and make what dagster.yaml names."""
    instance.get_runs_count()
    instance.get_dynamic_partitions("none")
    storage.look(instance)
    instance.get_concurrency_config()
    _ = instance.run_coordinator, instance.run_launcher, instance.compute_log_manager


def check_forks() -> None:
    """Raise RuntimeError if a forked process cannot use Polars, whose threads do not survive a fork."""
    if _said_by(_canary) != "3":
        raise RuntimeError("A forked process cannot use Polars on this machine.")


def _canary() -> str:
    import polars as pl

    frame = pl.DataFrame({"n": [1, 1, 2], "of": ["a", "b", "c"]})
    return str(frame.lazy().group_by("n").agg(pl.len()).select(pl.col("len").sum()).collect().item())


def _said_by(work: Callable[[], str]) -> str:
    """What `work` returns in a process of its own. Empty if it fails or takes too long."""
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
