"""The header Prefer, as RFC 7240 has it."""

import pytest

from qanatix_api.preferences import Preferences, read


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Preferences()),
        (["respond-async"], Preferences(respond_async=True)),
        (["RESPOND-ASYNC;foo=bar"], Preferences(respond_async=True)),
        (["wait=10"], Preferences(wait=10)),
        (['Wait = "10" ; why="a, b"'], Preferences(wait=10)),
        (["respond-async, wait=10"], Preferences(respond_async=True, wait=10)),
        (["respond-async", "wait=10"], Preferences(respond_async=True, wait=10)),
        (["wait=10, wait=20"], Preferences(wait=10)),
        (["wait=soon, wait=20"], Preferences()),
        (['foo="respond-async, wait=10"'], Preferences()),
        (['foo="\\", wait=1, ", wait=2'], Preferences(wait=2)),
        (["foo; respond-async"], Preferences()),
        (["return=minimal, handling=lenient"], Preferences()),
        (['respond-async=""'], Preferences(respond_async=True)),
        (["respond-async=false"], Preferences()),
        ([",, ,wait=0,"], Preferences(wait=0)),
        (["wait=\u0661"], Preferences()),
        (["wait=" + "9" * 400], Preferences()),
        (["x" * 990 + ", wait=1"], Preferences(wait=1)),
        (["x" * 2000 + ", wait=1"], Preferences()),
        (['"' * 999], Preferences()),
    ],
)
def test_what_is_preferred_is_read_and_the_rest_passed_over(headers: list[str], expected: Preferences) -> None:
    assert read(headers) == expected
