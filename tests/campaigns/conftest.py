"""What the campaigns share: how long they are, and their figures on a line of their own at the end of the tests."""

import os
from collections.abc import Callable

import pytest

DEEP = bool(os.environ.get("QANATIX_TEST_DEEP"))

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell a campaign's figures, in one line."""
    lines = request.config.stash.setdefault(_LINES, [])

    def tell(line: str) -> None:
        lines.append(line)

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_LINES, []):
        terminalreporter.write_line(f"figures: {line}")
