"""What `qanatix test` shows of a report at a terminal."""

from typing import Any

import click
import pytest

from qanatix_api.tables import checks_told, outcome, warnings_told
from qanatix_pipelines.reports import CheckName

WARNINGS = [
    {"code": "watch_is_cheaper", "detail": "The schedule pulls often, whether or not anything has changed."},
    {"code": "same_set", "detail": "Another connector fills the same entity set\x1b[2J."},
]


def checks(**statuses: str) -> list[dict[str, Any]]:
    """All checks, which passed but for these."""
    return [
        {
            "name": name.value,
            "status": statuses.get(name.value, "passed"),
            "detail": f"What is said of {name.value}.",
            "seconds": None,
        }
        for name in CheckName
    ]


LOGIN_FAILED = checks(tls="skipped", login="failed")[:4] + [one | {"status": "skipped"} for one in checks()[4:]]


def test_what_was_not_tried_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    assert click.unstyle(checks_told(LOGIN_FAILED)).splitlines() == [
        "passed   address             What is said of address.",
        "passed   reachable           What is said of reachable.",
        "skipped  tls                 What is said of tls.",
        "failed   login               What is said of login.",
        "Not tried, because login failed: account, query, columns,",
        "key, name, last_pull, cost.",
    ]


def test_where_nothing_failed_each_check_has_its_line() -> None:
    assert len(checks_told(checks(tls="skipped", key="warned")).splitlines()) == len(CheckName)


@pytest.mark.parametrize("width", [40, 100])
def test_warnings_are_wrapped_to_the_terminals_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    lines = warnings_told(WARNINGS).splitlines()

    assert max(map(len, lines)) <= width
    assert [line for line in lines if line.startswith("warning: ")] == [lines[0], lines[-1 if width == 100 else -2]]
    assert " ".join(lines) == " ".join(f"warning: {one['detail']}" for one in WARNINGS).replace("\x1b", "?")


@pytest.mark.parametrize(
    ("told", "warnings", "said"),
    [
        (checks(), [], "Passed."),
        (checks(tls="skipped"), [], "Passed."),
        (checks(key="warned"), [], "Passed, with 1 warning."),
        (checks(key="warned"), WARNINGS, "Passed, with 3 warnings."),
        (LOGIN_FAILED, WARNINGS, "Failed at login."),
    ],
)
def test_how_it_went_is_said_in_a_sentence(told: list[dict[str, Any]], warnings: list[Any], said: str) -> None:
    assert click.unstyle(outcome(told, warnings)) == said
