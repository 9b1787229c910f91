"""JSON as the API takes it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_api.strict_json import MAX_DEPTH, NotJson, NotTaken, check

STORABLE = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
DOCUMENTS = st.recursive(
    SCALARS | STORABLE, lambda inner: st.lists(inner) | st.dictionaries(STORABLE, inner), max_leaves=30
)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@given(DOCUMENTS)
def test_whatever_databases_can_hold_is_taken(document: object) -> None:
    check(json.dumps(document))
    check(json.dumps(document, ensure_ascii=False))


@given(st.text() | st.text('[]{}":,0123456789-+.eE\\u nulltrefas'))
def test_whatever_is_said_is_taken_or_refused_and_never_a_fault(text: str) -> None:
    try:
        check(text)
    except (NotJson, NotTaken):
        return
    json.dumps(json.loads(text), allow_nan=False).encode()


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,]", "{'a': 1}", '{"a" 1}', '"\t"', '"\x00"', "01", "+1", "1 2", "\ufeff{}", "nul", "//"]
)
def test_what_is_no_json_is_told_as_such(text: str) -> None:
    with pytest.raises(NotJson):
        check(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n "b" 2}', "from line 2, column 6 on: a colon should stand there."),
        ('{"a": 1 "b": 2}', "from line 1, column 9 on: a comma, or the end of what is open, should stand there."),
        ('{"a": }', "from line 1, column 7 on: a value should stand there."),
        ("{'a': 1}", "from line 1, column 2 on: a name in double quotes should stand there."),
        ('{"a": "x', "from line 1, column 7 on: the text that begins there is not closed."),
        ('{"a": "\\p"}', "from line 1, column 8 on: a backslash stands before what it cannot stand before."),
        ('{"a": "SELECT\n1"}', "from line 1, column 14 on: a line's end, or another control character, stands in"),
        ("{} x", "from line 1, column 4 on: the JSON has ended before."),
    ],
)
def test_what_is_no_json_is_told_with_its_place(text: str, expected: str) -> None:
    with pytest.raises(NotJson) as refused:
        check(text)

    assert str(refused.value).startswith("The body must be JSON, and cannot be read " + expected)


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        ('{"a": [1, NaN]}', ("a", 1), "must be a finite number"),
        ('{"a": Infinity}', ("a",), "must be a finite number"),
        ('{"a": -Infinity}', ("a",), "must be a finite number"),
        ('{"a": 1e400}', ("a",), "must be a finite number"),
        (f'{{"a": {2**63}}}', ("a",), "must be an integer of 64 bits at most"),
        (f'{{"a": {-(2**63) - 1}}}', ("a",), "must be an integer of 64 bits at most"),
        ('{"a": ' + "9" * 5000 + "}", ("a",), "must be an integer of 64 bits at most"),
        ('{"a": 1, "b": 2, "a": 1}', ("a",), "must be named once only in its object"),
        ('{"b": {"a": 1, "\\u0061": 1}}', ("b", "a"), "must be named once only in its object"),
        ('{"a": "\\ud800"}', ("a",), "must not hold NUL characters or lone surrogates"),
        ('{"a": "\\udc00\\ud800"}', ("a",), "must not hold NUL characters or lone surrogates"),
        ('{"a": "x\\u0000"}', ("a",), "must not hold NUL characters or lone surrogates"),
        ('{"b": {"\\u0000": 1}}', ("b",), "must not have names that hold NUL characters or lone surrogates"),
        ('{"\\ud800": 1}', (), "must not have names that hold NUL characters or lone surrogates"),
        (nested(MAX_DEPTH + 1), (), "must not be nested deeper than 32 levels"),
        (nested(30_000), (), "must not be nested deeper than 32 levels"),
        ("[" * 30_000, (), "must not be nested deeper than 32 levels"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, (), "must not be nested deeper than 32 levels"),
    ],
)
def test_what_is_not_taken_is_told_with_its_place(text: str, path: tuple[str | int, ...], sentence: str) -> None:
    with pytest.raises(NotTaken) as refused:
        check(text)

    assert (refused.value.path, str(refused.value)) == (path, sentence)


@pytest.mark.parametrize(
    "text", [nested(MAX_DEPTH), str(2**63 - 1), str(-(2**63)), "1.7976931348623157e308", '"\\ud83d\\ude00"', '"é"']
)
def test_the_last_that_is_within_the_limits_is_taken(text: str) -> None:
    check(text)
