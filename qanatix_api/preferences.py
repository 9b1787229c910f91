"""How long a caller waits for a pull: as `wait` says, or the header Prefer of RFC 7240."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Query
from pydantic import BeforeValidator

APPLIED = "Preference-Applied"

_ASYNC = "respond-async"
_LONGEST = 1000  # characters, which no client needs
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_UNPARAMETERED = re.compile(rf'(?:[^;"]|{_QUOTED})*')
_SECONDS = re.compile(r"[0-9]{1,9}")

# As JSON writes it: who writes 0 or off is told so.
Flag = Annotated[bool, BeforeValidator({"true": True, "false": False}.get)]


@dataclass(frozen=True)
class Preferences:
    """`wait`: within so many seconds the caller would have an answer. What cannot be read is not preferred."""

    respond_async: bool = False
    wait: int | None = None


@dataclass(frozen=True)
class Patience:
    """`seconds`: how long the caller waits for the pull to end; None for as long as the API does."""

    seconds: int | None
    preferred: Preferences

    def applied(self, longest: float, *, accepted: bool) -> dict[str, str]:
        """The header that tells which preferences were kept to, where the API waits for at most `longest` seconds."""
        kept = [_ASYNC] if self.preferred.respond_async and accepted else []
        if self.seconds is not None and self.seconds == self.preferred.wait and self.seconds <= longest:
            kept.append(f"wait={self.seconds}")
        return {APPLIED: ", ".join(kept)} if kept else {}


def read(headers: Iterable[str]) -> Preferences:
    """What all of a request's Prefer headers say. Of a preference that is named twice the first one counts."""
    text = ", ".join(headers)
    if len(text) > _LONGEST:
        return Preferences()
    named: dict[str, str] = {}
    for preference in _PREFERENCE.findall(text):
        bare = _UNPARAMETERED.match(preference)
        name, _, value = (bare.group() if bare else "").partition("=")
        named.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = named.get("wait", "")
    return Preferences(named.get(_ASYNC) == "", int(wait) if _SECONDS.fullmatch(wait) else None)


def read_patience(
    *,
    wait: Annotated[Flag, Query(description="`false` answers 202 as soon as the pull's run is on its way.")] = True,
    prefer: Annotated[
        list[str] | None,
        Header(
            description=(
                "As in RFC 7240: `respond-async` is as `wait=false`; `wait=N`, alone or with it, waits for N seconds."
            ),
            examples=["respond-async", "wait=10"],
        ),
    ] = None,
) -> Patience:
    """A request's. `wait=false` goes before what is only preferred."""
    preferred = read(prefer or ())
    if not wait:
        return Patience(0, Preferences(preferred.respond_async))
    if preferred.respond_async and preferred.wait is None:
        return Patience(0, preferred)
    return Patience(preferred.wait, preferred)
