"""Pairs of words for one thing: the newer word is taken for the older one, or beside it if both say the same."""

from typing import Any

from pydantic import BeforeValidator

# The older word, which this project uses, and the newer one.
PAIRS = {"vertical": "collection", "entity_type": "record_type"}


class _Differ:
    """Replaces the value of a pair whose words differ, until its field is validated."""

    def __init__(self, newer: str) -> None:
        self.newer = newer


def one_word_each(given: Any) -> Any:
    """A request with one word of each pair. Where both are given and differ, the older one's validation will fail."""
    if not isinstance(given, dict):
        return given
    one = dict(given)
    for older, newer in PAIRS.items():
        if older in one and newer in one:
            same = one.pop(newer)
            if same != one[older]:
                one[older] = _Differ(newer)
    return one


def _agreed(value: Any) -> Any:
    if isinstance(value, _Differ):
        raise ValueError(f"must be the same as {value.newer}, if both are given")  # noqa: TRY004  # pydantic wants it
    return value


# For a field whose name is the older word of a pair.
AGREED = BeforeValidator(_agreed)


def know_pairs(schema: dict[str, Any]) -> None:
    """Tell the newer words in the JSON schema of a request: of a pair that is required, one word is enough."""
    required = schema.get("required", [])
    for older, newer in PAIRS.items():
        schema["properties"][newer] = schema["properties"][older] | {
            "title": newer.replace("_", " ").title(),
            "description": f"The same as `{older}`.",
        }
        if older in required:
            required.remove(older)
            schema.setdefault("allOf", []).append({"anyOf": [{"required": [older]}, {"required": [newer]}]})
