"""The codes of errors, as the published document lists them. Answers hold them as plain texts."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from qanatix_api import refusals
from qanatix_pipelines import conflicts, errors

NO_SUCH_PATH = "no_such_path"
TEST_FAILED = "test_failed"
# `pull_failed` is the root of the pulls' errors: none is of that kind alone.
_CODES = {
    kind.code for module in (conflicts, errors, refusals) for kind in vars(module).values() if hasattr(kind, "code")
} - {errors.PullError.code} | {NO_SUCH_PATH, TEST_FAILED}
_ErrorCode = StrEnum("ErrorCode", {code.upper(): code for code in sorted(_CODES)})  # type: ignore[misc]
_ErrorCode.__doc__ = "The kind of an error, for programs. A later release may have more of them."


class _AsErrorCode:
    """Shows a text as an ErrorCode. It is not checked, because a receipt may be of another release."""

    def __get_pydantic_json_schema__(self, _: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(core_schema.union_schema([TypeAdapter(_ErrorCode).core_schema]))  # as a reference to it


Code = Annotated[str, _AsErrorCode()]
