"""Query parameters: one that an operation does not take is an error, not something to pass over in silence."""

from fastapi import Depends, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query


def check_names(request: Request) -> None:
    """Raise RequestValidationError that names each query parameter which the request's operation does not take."""
    parameters = get_flat_params(request.scope["route"].dependant)
    taken = [parameter.alias for parameter in parameters if isinstance(parameter.field_info, Query)]
    listed = ", ".join(taken) or "none"
    problems = [
        {
            "loc": ("query", name),
            "msg": f"is no query parameter of this operation; it takes {listed}",
            "type": "extra_forbidden",
        }
        for name in request.query_params
        if name not in taken
    ]
    if problems:
        raise RequestValidationError(problems)


# For whatever routes are to refuse them.
KNOWN_ONLY = [Depends(check_names)]
