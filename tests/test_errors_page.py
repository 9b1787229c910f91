"""`docs/errors.md` is held to the code: every code stands there once, with the status that the API answers."""

import re
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

import pytest

from qanatix_api import refusals
from qanatix_api.codes import NO_SUCH_PATH, TEST_FAILED
from qanatix_api.failures import conflict, pull_failure
from qanatix_pipelines import conflicts, errors
from qanatix_pipelines.receipts import PullStatus, Receipt

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "errors.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
# `pull_failed` is the root of the pulls' errors: none is of that kind alone.
CODES = {kind.code for kind in vars(errors).values() if hasattr(kind, "code")} - {errors.PullError.code}
# What only the API says, with its status.
REFUSALS = {kind.code: kind.status for kind in vars(refusals).values() if hasattr(kind, "status")} | {
    TEST_FAILED: HTTPStatus.UNPROCESSABLE_ENTITY
}
# No answer has these: a receipt and a connector's watch tell them.
UNANSWERED = {errors.PullNotBegun.code, errors.WatchBroken.code}
# These are no end of a pull.
OTHERS = (
    REFUSALS
    | {
        errors.NotFound.code: HTTPStatus.NOT_FOUND,
        errors.PullFinished.code: HTTPStatus.CONFLICT,
        NO_SUCH_PATH: HTTPStatus.NOT_FOUND,
    }
    | {kind.code: HTTPStatus(conflict(kind.__new__(kind)).status_code) for kind in conflicts.Conflict.__subclasses__()}
)


def test_every_code_stands_on_the_page_once() -> None:
    assert sorted(code for code, _ in ROWS) == sorted(CODES | OTHERS.keys())


@pytest.mark.parametrize("code", sorted(CODES - UNANSWERED - OTHERS.keys()))
def test_a_pulls_code_stands_with_the_status_that_is_answered(code: str) -> None:
    receipt = Receipt.model_construct(
        id=uuid4(), run_id=None, status=PullStatus.FAILED, error_code=code, error_detail="It failed."
    )

    assert dict(ROWS)[code] == str(pull_failure(receipt, {}).status_code)


def test_the_other_codes_stand_with_their_status() -> None:
    assert {code: dict(ROWS)[code] for code in OTHERS} == {code: str(int(status)) for code, status in OTHERS.items()}
    assert {code: dict(ROWS)[code] for code in UNANSWERED} == dict.fromkeys(UNANSWERED, "none")
