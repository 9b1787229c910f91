"""The OpenAPI document: what FastAPI makes of the routes, and what holds for all of them."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from qanatix_api.failures import Problem
from qanatix_api.request_ids import HEADER as REQUEST_ID

# The extension that names the scopes that a key needs for an operation.
SCOPES = "x-required-scopes"
ABOUT = """
Register a database and a query. Each *pull* runs the query and ingests the rows that are new or changed.

Send an API key as `Authorization: Bearer sk_live_...`. Errors are problem details (RFC 9457), with a `code` for
programs. `HEAD` is answered wherever `GET` is, without the body.
""".strip()
TAGS = [
    {"name": "connectors", "description": "Databases and queries that are registered."},
    {"name": "pulls", "description": "Runs of a connector's query, and their receipts."},
    {"name": "entities", "description": "What rows have become."},
    {"name": "records", "description": "Entities in newer words."},
    {"name": "keys", "description": "API keys. The scope `admin` is needed."},
    {"name": "health", "description": "Whether the API works. No key is needed."},
]
INFO: dict[str, Any] = {
    "title": "QANATIX Connectors API",
    "version": "0.1.0",
    "summary": "Register a database and a query; each pull ingests what is new or changed, exactly.",
    "description": ABOUT,
    "contact": {"name": "The operators of this API"},
    "license_info": {"name": "MIT", "identifier": "MIT"},
    "openapi_tags": TAGS,
}
_RATES = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_HEADERS: dict[str, tuple[str, str]] = {
    REQUEST_ID: ("string", "The id of the request: the caller's own if it is a plain word. The log has it, too."),
    _RATES[0]: ("integer", "How many such requests any minute allows."),
    _RATES[1]: ("integer", "How many of them are left."),
    _RATES[2]: ("integer", "In how many seconds the oldest one no longer counts."),
    "Retry-After": ("integer", "In how many seconds to try again."),
    "WWW-Authenticate": ("string", "`Bearer`, with the scope that is missing."),
}
_AGAIN = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_UNKNOWN = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


def install(app: FastAPI) -> None:
    """Have `app` publish its document with what `_complete` adds."""
    made = app.openapi
    completed: list[dict[str, Any]] = []  # FastAPI makes it anew if routes were added

    def openapi() -> dict[str, Any]:
        document = made()
        if not any(one is document for one in completed):
            _complete(document)
            completed[:] = [document]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    """Declare the scopes of keys, the headers that middleware sets, and the schemas of errors."""
    problems: list[type[BaseModel]] = [Problem, *Problem.__subclasses__()]
    _, schemas = models_json_schema(
        [(model, "serialization") for model in problems], ref_template="#/components/schemas/{model}"
    )
    declared = document["components"]["schemas"]
    declared |= jsonable_encoder(schemas["$defs"], exclude_none=True)  # FastAPI tells no default that is null either
    document["components"]["headers"] = {
        name: {"description": description, "schema": {"type": kind}} for name, (kind, description) in _HEADERS.items()
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            keyed = "security" in operation
            if keyed:
                _name_scopes(operation)
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
            for content in operation.get("requestBody", {"content": {}})["content"].values():
                content["schema"] = _without_null(content["schema"])
            for status, answer in operation["responses"].items():
                _declare(int(status), answer, keyed=keyed)


def _name_scopes(operation: dict[str, Any]) -> None:
    """A bearer key's scopes have no place of OpenAPI's own: linters take them for OAuth's."""
    scopes = [scope for needed in operation["security"] for scopes in needed.values() for scope in scopes]
    operation["security"] = [{name: [] for name in needed} for needed in operation["security"]]
    operation[SCOPES] = scopes
    lacking = " and ".join(f"`{scope}`" for scope in scopes)
    operation["responses"][str(int(HTTPStatus.FORBIDDEN))]["description"] = f"The API key lacks the scope {lacking}."


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of what may be left out. FastAPI shows that as a null, which no parameter and no body can be."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return schema if len(kinds) != 1 else {key: value for key, value in schema.items() if key != "anyOf"} | kinds[0]


def _declare(status: int, answer: dict[str, Any], *, keyed: bool) -> None:
    names = [REQUEST_ID, *(_RATES if keyed else ())]
    names += ["Retry-After"] if status in _AGAIN else []
    names += ["WWW-Authenticate"] if status in _UNKNOWN else []
    declared = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    answer["headers"] = declared | answer.get("headers", {})
