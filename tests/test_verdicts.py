"""What a test says of what a source's planner and its account tell. That they tell it, each source's own tests show."""

import pytest

from qanatix_pipelines.accounts import Account, Sight
from qanatix_pipelines.batches import Expected, Plan, Scanned
from qanatix_pipelines.reports import CheckStatus
from qanatix_pipelines.verdicts import LARGE_ROWS, of_account, of_cost, of_last_pull, of_tls
from tests.reported import ASKS

PASSED, WARNED, SKIPPED = CheckStatus.PASSED, CheckStatus.WARNED, CheckStatus.SKIPPED
MANY = LARGE_ROWS + 1
SMALL, LARGE = Scanned("items", LARGE_ROWS), Scanned("items", MANY)


def expected(plan: Plan | None, *types: str) -> Expected:
    return Expected(last_pull_types=types, plan=plan)


@pytest.mark.parametrize(
    ("told", "used", "status", "said"),
    [
        (expected(None), False, WARNED, "The query does not say :last_pull"),
        (expected(None), True, PASSED, "It is used."),
        (expected(None, "timestamptz"), True, PASSED, "It is compared with timestamptz."),
        (expected(None, "date", "int8"), True, PASSED, "It is compared with date and int8."),
        (Expected(("date", "string"), None, ("string",)), True, WARNED, "Of string that is never true"),
        (expected(Plan(MANY, (LARGE,), index="at")), True, PASSED, "The index 'at' serves that."),
        (expected(Plan(MANY, (SMALL,))), True, PASSED, "No index serves that. For so few rows none is needed."),
        (expected(Plan(MANY, (LARGE,))), True, WARNED, "each pull reads all of 'items' (about 100,001 rows)"),
        (expected(Plan(MANY, (Scanned("items", None),))), True, WARNED, "each pull reads all of 'items'. Make one"),
        (
            expected(Plan(None, (Scanned("items", None),))),
            True,
            PASSED,
            "No index serves that. For so few rows none is needed.",
        ),
    ],
)
def test_last_pull(told: Expected, used: bool, status: CheckStatus, said: str) -> None:
    verdict = of_last_pull(told, used=used)

    assert status is not WARNED or ASKS.search(verdict.detail), verdict
    assert (verdict.status, said in verdict.detail) == (status, True), verdict


@pytest.mark.parametrize(
    ("plan", "used", "status", "said"),
    [
        (None, True, SKIPPED, "The source tells nothing of it"),
        (Plan(10), True, PASSED, "A first pull has about 10 rows, as"),
        (Plan(1, (SMALL,)), True, PASSED, "about 1 row, and reads all of 'items' (about 100,000 rows), as"),
        (Plan(None, sorts=True), True, WARNED, "The source sorts an unknown number of rows before the first one comes"),
        (Plan(LARGE_ROWS, sorts=True), True, PASSED, "A first pull has"),
        (Plan(MANY, sorts=True), True, WARNED, "The source sorts about 100,001 rows before the first one comes"),
        (Plan(MANY, (LARGE,)), True, WARNED, "each pull reads all of 'items' (about 100,001 rows)"),
        (Plan(MANY, (LARGE,), index="at"), True, PASSED, "A first pull has"),
        # Of a query without :last_pull it is what was asked for.
        (Plan(MANY, (LARGE,)), False, PASSED, "A first pull has"),
    ],
)
def test_cost(plan: Plan | None, used: bool, status: CheckStatus, said: str) -> None:
    verdict = of_cost(expected(plan), used=used)

    assert status is not WARNED or ASKS.search(verdict.detail), verdict
    assert (verdict.status, said in verdict.detail) == (status, True), verdict


BLIND = (
    "The account cannot see how long the transactions of others are open. If one is open for more than 1,200 seconds "
    "(the overlap), rows that it writes may be missed. Run GRANT sight TO reader at the source. Or set `overlap` to "
    "more seconds than any transaction takes."
)
UNTOLD = (
    "The server does not say what it may do, so its rights are not judged, and it sees the open transactions of others."
)


@pytest.mark.parametrize(
    ("account", "strong", "file", "status", "said"),
    [
        (Account(), False, False, PASSED, "It has no right that is too strong."),
        (
            Account(sight=Sight()),
            False,
            False,
            PASSED,
            "It has no right that is too strong, and it sees the open transactions of others.",
        ),
        (Account(sight=Sight("Run GRANT sight TO reader at the source.")), False, False, WARNED, BLIND),
        (Account(rights_told=False, sight=Sight()), False, False, PASSED, UNTOLD),
        (Account(), True, False, PASSED, "Its rights are not judged, as the operator has set."),
        (Account(), False, True, SKIPPED, "A file has no accounts."),
    ],
)
def test_account(account: Account, strong: bool, file: bool, status: CheckStatus, said: str) -> None:
    assert of_account(account, overlap=1200, strong=strong, file=file) == (status, said)


@pytest.mark.parametrize(
    ("tls", "near", "file", "status"),
    [
        ("verified", False, False, PASSED),
        ("encrypted", False, False, WARNED),
        ("encrypted", True, False, PASSED),
        ("none", False, False, WARNED),
        ("none", True, False, SKIPPED),
        ("none", False, True, SKIPPED),
    ],
)
def test_tls(tls: str, near: bool, file: bool, status: CheckStatus) -> None:
    verdict = of_tls(tls, near=near, file=file)  # type: ignore[arg-type]

    assert verdict.status is status
    assert status is not WARNED or ASKS.search(verdict.detail), verdict
