"""Which runs start at once and which wait, where many are submitted at the same time."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import dagster as dg
import pytest
import yaml
from dagster import DagsterRun, DagsterRunStatus
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext

from qanatix_pipelines.launcher.coordinator import PullRunCoordinator

pytestmark = pytest.mark.slow

ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "pulls"), "pull_postgresql")
AT_ONCE = 8
ROOT = Path(__file__).parents[1]


class Launching:
    """An instance's launches: each takes until all of them may end."""

    def __init__(self) -> None:
        self.launched: list[str] = []
        self.may_end = threading.Event()

    def launch(self, run_id: str, _workspace: object) -> None:
        self.launched.append(run_id)
        assert self.may_end.wait(60)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as temporary:
        yield temporary


@pytest.fixture
def launching(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Launching:
    launching = Launching()
    monkeypatch.setattr(instance, "launch_run", launching.launch)
    return launching


def coordinated(instance: dg.DagsterInstance, **limits: Any) -> PullRunCoordinator:
    coordinator = PullRunCoordinator(**limits)
    coordinator.register_instance(instance)
    return coordinator


def submission(instance: dg.DagsterInstance, kind: str | None = None) -> SubmitRunContext:
    """Of a pull that is asked for over REST, or of a test or a dry run."""
    tags = {"qanatix/trigger": "api", "qanatix/source": "s"}
    tags |= {"qanatix/connector": "c"} if kind is None else {"qanatix/kind": kind}
    run = DagsterRun("pull_postgresql", run_id=str(uuid4()), tags=tags, remote_job_origin=ORIGIN)
    return SubmitRunContext(instance.add_run(run), cast(Any, None))


def submitted_at_once(
    instance: dg.DagsterInstance, launching: Launching, kinds: Sequence[str | None] = (None,) * AT_ONCE, **limits: Any
) -> list[DagsterRunStatus]:
    """What becomes of pulls that are all submitted before the first of them has begun."""
    coordinator = coordinated(instance, **limits)
    contexts = [submission(instance, kind) for kind in kinds]
    with ThreadPoolExecutor(len(kinds)) as threads:
        submitting = [threads.submit(coordinator.submit_run, context) for context in contexts]
        while len(launching.launched) + sum(one.done() for one in submitting) < len(kinds):
            time.sleep(0.01)
        launching.may_end.set()
    for one in submitting:
        one.result()
    return [run.status for run in instance.get_runs()]


@pytest.mark.slow
def test_no_more_than_there_is_room_for_start_at_once(instance: dg.DagsterInstance, launching: Launching) -> None:
    statuses = submitted_at_once(instance, launching, max_concurrent_runs=3)

    assert (len(launching.launched), statuses.count(DagsterRunStatus.QUEUED)) == (3, AT_ONCE - 3)


@pytest.mark.slow
def test_no_more_of_a_source_than_its_limit_start_at_once(instance: dg.DagsterInstance, launching: Launching) -> None:
    limit = {"key": "qanatix/source", "value": {"applyLimitPerUniqueValue": True}, "limit": 2}

    statuses = submitted_at_once(instance, launching, tag_concurrency_limits=[limit])

    assert (len(launching.launched), statuses.count(DagsterRunStatus.QUEUED)) == (2, AT_ONCE - 2)


@pytest.mark.parametrize("kind", ["test", "dry_run"])
@pytest.mark.parametrize("file", ["dagster.yaml", "deploy/several-hosts/dagster.yaml"])
def test_tests_and_dry_runs_that_never_end_leave_places_to_pulls(
    instance: dg.DagsterInstance, launching: Launching, file: str, kind: str
) -> None:
    configured = yaml.safe_load((ROOT / file).read_text())["run_coordinator"]["config"]
    limits = {name: configured[name] for name in ("max_concurrent_runs", "tag_concurrency_limits")}
    allowed = next(one["limit"] for one in limits["tag_concurrency_limits"] if one.get("value") == kind)

    submitted_at_once(instance, launching, kinds=[*[kind] * (allowed + 3), *[None] * 4], **limits)

    launched = [instance.get_run_by_id(run_id) for run_id in launching.launched]
    kinds = [run.tags.get("qanatix/kind") for run in launched if run is not None]
    assert (kinds.count(kind), kinds.count(None)) == (allowed, 4)


def test_who_could_not_be_launched_takes_no_room(
    instance: dg.DagsterInstance, launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run_id: str, _workspace: object) -> None:
        raise ZeroDivisionError(run_id)

    coordinator = coordinated(instance, max_concurrent_runs=1)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):  # noqa: PT012  # one submission
        patch.setattr(instance, "launch_run", broken)
        coordinator.submit_run(submission(instance))
    launching.may_end.set()

    coordinator.submit_run(submission(instance))

    assert len(launching.launched) == 1
