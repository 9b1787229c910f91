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
from qanatix_pipelines.sources import connector_types
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.sources.sqlite import server as sqlite


@contextmanager
def in_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The process's environment names a SQLite store in this folder, which is all that Dagster's side knows."""
    monkeypatch.setenv("QANATIX_DATA_DIR", str(folder))
    monkeypatch.setenv("QANATIX_SQLITE_FOLDERS", str(sqlite.folder()))
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", ENCRYPTION_KEY)
    monkeypatch.setenv("QANATIX_API_KEY_PEPPER", PEPPER)
    yield Settings(data_dir=folder, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    resources.close_stores()


def evaluate(sensor: dg.SensorDefinition, instance: dg.DagsterInstance) -> list[dg.RunRequest] | str:
    """What a sensor asks for now, or why it asks for nothing."""
    from qanatix_pipelines.definitions import defs

    sources = {
        resources.source_key(name): resources.SourceResource(connector_type=name)
        for name in connector_types()
        if resources.source_key(name) in sensor.required_resource_keys  # Dagster would read its settings anew for each
    }
    context = dg.build_sensor_context(
        instance=instance, definitions=defs, resources={resources.STORE: resources.StoreResource(), **sources}
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
