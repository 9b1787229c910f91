"""Query parameters: one that an operation does not take, or takes once, is an error and not silently ignored.

Here and elsewhere, a dependency that waits for nothing is `async`: FastAPI asks any other one in a thread.
"""

from collections import Counter

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query


async def check_names(request: Request) -> None:
    """Raise a RequestValidationError that names each query parameter that is not taken, or is given repeatedly."""
    parameters = get_flat_params(request.scope["route"].dependant)
    taken = [parameter.alias for parameter in parameters if isinstance(parameter.field_info, Query)]
    listed = ", ".join(taken) or "none"
    given = Counter(name for name, _ in request.query_params.multi_items())
    problems = [
        {
            "loc": ("query", name),
            "msg": f"is no query parameter of this operation; it takes {listed}",
            "type": "extra_forbidden",
        }
        for name in given
        if name not in taken
    ]
    problems += [
        {"loc": ("query", name), "msg": "must be given once only", "type": "repeated"}
        for name, times in given.items()
        if name in taken and times > 1
    ]
    if problems:
        raise RequestValidationError(problems)


# The dependencies of routes that refuse unknown parameters.
KNOWN_ONLY = [Depends(check_names)]
