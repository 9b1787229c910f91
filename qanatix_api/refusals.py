"""Errors that only the API has. Each is answered with its status, its code and its sentence."""

from http import HTTPStatus
from typing import ClassVar

from qanatix_pipelines.errors import OrchestratorUnavailable, QanatixError
from qanatix_pipelines.store.drafts import Kind


class Refusal(QanatixError):
    """A request that is not done."""

    code: ClassVar[str]
    status: ClassVar[HTTPStatus]


class TestNotStarted(Refusal):
    """Dagster could not start the run of a test."""

    code = "test_not_started"
    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, reason: OrchestratorUnavailable) -> None:
        super().__init__(f"Dagster could not start it: {reason.problem}. Nothing was read; try again later.")


class TestQueued(TestNotStarted):
    """The run of a test waited in Dagster's queue until its time was over."""

    def __init__(self) -> None:
        Refusal.__init__(
            self,
            "Its run waited in Dagster's queue, behind others, and did not begin in time. Nothing was read; try again "
            "later.",
        )


class DryRunNotStarted(TestNotStarted):
    """Dagster could not start the run of a dry run."""

    code = "dry_run_not_started"


class TestLost(Refusal):
    """The run of a test gave no answer in time, or ended without one."""

    code = "test_lost"
    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, problem: str) -> None:
        super().__init__(f"There is no answer: {problem}. Nothing was changed; try again.")


class DryRunLost(TestLost):
    """The run of a dry run ended without an answer."""

    code = "dry_run_lost"
    # To ask once more for an answer that is lost does not help, and clients do that by themselves with a 503.
    status = HTTPStatus.INTERNAL_SERVER_ERROR


class DryRunGone(Refusal):
    """There is no such dry run, or no longer."""

    code = "dry_run_gone"
    status = HTTPStatus.NOT_FOUND
    sentence = "There is no such dry run: it was deleted, or its time is over, or it was never there. Ask for it again."


class TestBroken(Refusal):
    """A fault of ours in the run of a test."""

    code = "test_broken"
    status = HTTPStatus.INTERNAL_SERVER_ERROR


class DryRunBroken(TestBroken):
    """A fault of ours in the run of a dry run."""

    code = "dry_run_broken"


NOT_STARTED: dict[Kind, type[TestNotStarted]] = {"test": TestNotStarted, "dry_run": DryRunNotStarted}
LOST: dict[Kind, type[TestLost]] = {"test": TestLost, "dry_run": DryRunLost}
# What a run, or whoever waited for it, has left as its answer.
ANSWERED = (DryRunNotStarted, DryRunLost, TestBroken, DryRunBroken)


class LookFailed(QanatixError):
    """The run of a test or a dry run could not answer, by an error that a pull would have, too: `code` says which."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        super().__init__(detail)
