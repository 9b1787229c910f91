"""Sensors as Dagster's daemon works with them: evaluated at a time, and what they ask for made into runs."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.storage.tags import RUN_KEY_TAG

from qanatix_pipelines.defs import resources
from qanatix_pipelines.settings import Settings
from tests.conftest import ENCRYPTION_KEY, PEPPER


@contextmanager
def in_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The process's environment names a SQLite store in this folder, which is all that Dagster's side knows."""
    monkeypatch.setenv("QANATIX_DATA_DIR", str(folder))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.setenv("QANATIX_API_KEY_PEPPER", PEPPER)
    resources._opened.cache_clear()
    yield Settings(data_dir=folder, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    resources._opened().engine.dispose()
    resources._opened.cache_clear()


def evaluate(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """What a sensor asks for now, or why it asks for nothing."""
    from qanatix_pipelines.definitions import defs

    context = dg.build_sensor_context(
        instance=instance, definitions=defs, resources={"store": resources.StoreResource()}
    )
    result = sensor(context)
    return str(result.skip_message) if isinstance(result, dg.SkipReason) else list(result.run_requests)


def submit(
    instance: dg.DagsterInstance,
    requests: Iterable[dg.RunRequest] | str,
    status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
) -> None:
    """Make a run of each, as the daemon does of keys that are new to it."""
    assert not isinstance(requests, str), requests
    for request in requests:
        tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
        instance.add_run(DagsterRun(request.job_name or "", run_id=str(uuid4()), tags=tags, status=status))
