"""The type that data had until 0017: JSON as it was written. On PostgreSQL `json`."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import UserDefinedType


class JsonText(UserDefinedType[str]):
    """`json` on PostgreSQL, TEXT on SQLite."""

    cache_ok = True

    def column_expression(self, colexpr: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(colexpr, sa.Text)

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, JsonText)


@compiles(JsonText, "postgresql")
def _json(*_: Any, **__: Any) -> str:
    return "JSON"


@compiles(JsonText, "sqlite")
def _text(*_: Any, **__: Any) -> str:
    return "TEXT"
