"""The JSON that the API accepts: what Python parses, without what databases and other parsers cannot hold."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from qanatix_pipelines.places import where

MAX_DEPTH = 32
_INT_DIGITS = 20  # a longer number cannot fit into 64 bits, and is not converted
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_INT64 = range(-(2**63), 2**63)

Path = tuple[str | int, ...]


class NotJson(ValueError):
    """The text is not JSON."""


class NotTaken(ValueError):
    """The text is JSON that the API does not accept. `path` leads to the reason, from the top."""

    def __init__(self, path: Path, sentence: str) -> None:
        self.path = path
        super().__init__(sentence)


@dataclass(frozen=True)
class _Fault:
    """Replaces a value that is not accepted in the parsed document, until its path is known."""

    sentence: str


_NOT_INT64 = _Fault("must be an integer of 64 bits at most")
_NOT_FINITE = _Fault("must be a finite number")
_TWICE = _Fault("must be named once only in its object")


def check(text: str) -> None:
    """Raise NotJson or NotTaken unless `text` is JSON with these limits.

    The limits: at most 32 levels, integers of 64 bits, finite numbers, each name once in an object, no NUL and no lone
    surrogate in strings. The messages repeat nothing of `text`.
    """
    try:
        top = _DECODER.decode(text)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise NotJson(f"The body must be JSON, and cannot be read {where(error)}.") from None
    waiting: list[tuple[Path, Any]] = [((), top)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _Fault):
            raise NotTaken(path, value.sentence)
        if isinstance(value, str):
            if _UNSTORABLE.search(value):
                raise NotTaken(path, "must not hold NUL characters or lone surrogates")
        elif isinstance(value, dict | list):
            if len(path) >= MAX_DEPTH:
                raise _too_deep()
            waiting.extend(((*path, part), inner) for part, inner in _parts(path, value))


def _parts(path: Path, value: dict[str, Any] | list[Any]) -> Iterable[tuple[str | int, Any]]:
    if isinstance(value, list):
        return enumerate(value)
    if any(map(_UNSTORABLE.search, value)):
        raise NotTaken(path, "must not have names that hold NUL characters or lone surrogates")
    return value.items()


def _too_deep() -> NotTaken:
    return NotTaken((), f"must not be nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        whole |= {name: _TWICE for name, count in counts.items() if count > 1}
    return whole


def _integer(digits: str) -> int | _Fault:
    value = int(digits) if len(digits) <= _INT_DIGITS else None
    return _NOT_INT64 if value is None or value not in _INT64 else value


def _number(digits: str) -> float | _Fault:
    value = float(digits)
    return value if math.isfinite(value) else _NOT_FINITE


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=lambda _: _NOT_FINITE
)
