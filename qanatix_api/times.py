"""Times in requests: as text with a zone, and not as a number of seconds."""

import re
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _written(given: object) -> object:
    if given is not None and not (isinstance(given, str) and _TIME.match(given)):
        raise ValueError("must be a time with its zone, as text such as 2030-01-31T12:00:00Z")
    return given


Time = Annotated[AwareDatetime, BeforeValidator(_written)]
