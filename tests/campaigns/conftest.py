"""What the campaigns share: how long they are, and their figures on a line of their own at the end of the tests."""

import os
from collections.abc import Callable

import pytest

DEEP = bool(os.environ.get("QANATIX_TEST_DEEP"))

_FIGURES = "figures"


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell a campaign's figures, in one line."""

    def tell(line: str) -> None:
        # A test's properties come with its report, from whichever process it ran in.
        request.node.user_properties.append((_FIGURES, line))

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for name, line in report.user_properties:
                    if name == _FIGURES:
                        terminalreporter.write_line(f"figures: {line}")
