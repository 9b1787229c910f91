"""How long a caller waits for a pull: by the parameter `wait`, or by the header Prefer (RFC 7240)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header, Query, Request
from pydantic import BeforeValidator

APPLIED = "Preference-Applied"

_ASYNC = "respond-async"
_LONGEST = 1000  # characters, which no client needs
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE = re.compile(rf'(?:[^,"]|{_QUOTED})+')
_UNPARAMETERED = re.compile(rf'(?:[^;"]|{_QUOTED})*')
_SECONDS = re.compile(r"[0-9]{1,9}")

# Only as JSON or Python writes it: 0 or off is an error.
Flag = Annotated[bool, BeforeValidator({"true": True, "True": True, "false": False, "False": False}.get)]


@dataclass(frozen=True)
class Preferences:
    """`wait` is in seconds. A preference that cannot be parsed is ignored."""

    respond_async: bool = False
    wait: int | None = None


@dataclass(frozen=True)
class Patience:
    """`seconds` is how long the caller waits for the pull to end; None for as long as the API allows."""

    seconds: int | None
    preferred: Preferences

    def applied(self, longest: float, *, accepted: bool) -> dict[str, str]:
        """The Preference-Applied header, given that the API waits for at most `longest` seconds."""
        kept = [_ASYNC] if self.preferred.respond_async and accepted else []
        if self.seconds is not None and self.seconds == self.preferred.wait and self.seconds <= longest:
            kept.append(f"wait={self.seconds}")
        return {APPLIED: ", ".join(kept)} if kept else {}


def read(headers: Iterable[str]) -> Preferences:
    """The preferences of all Prefer headers. If one is named twice, the first one counts (RFC 7240, section 2)."""
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


async def read_patience(
    request: Request,
    *,
    wait: Annotated[Flag, Query(description="`false` answers 202 as soon as the pull's run is launched.")] = True,
    _prefer: Annotated[
        str | None,  # generators take no list in a header; each of several headers is read all the same
        Header(
            alias="Prefer",
            description=(
                "As in RFC 7240: `respond-async` means `wait=false`; `wait=N`, alone or with it, waits for N seconds."
            ),
            examples=["respond-async", "wait=10"],
        ),
    ] = None,
) -> Patience:
    """The patience of a request. `wait=false` takes precedence over the header."""
    preferred = read(request.headers.getlist("Prefer"))
    if not wait:
        return Patience(0, Preferences(preferred.respond_async))
    if preferred.respond_async and preferred.wait is None:
        return Patience(0, preferred)
    return Patience(preferred.wait, preferred)
