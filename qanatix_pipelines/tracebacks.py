"""Exceptions as logs may show them: their types and where they were raised, never their messages."""

import traceback


def places(error: BaseException) -> list[str]:
    """The calls that led to where `error` was raised, outermost first, as `file:line in function`.

    The message and the calls' arguments are left out: they may contain a row, an address or a password.
    """
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def outline(error: BaseException) -> str:
    """Its type and calls, after those of the exception that caused it."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else f"{outline(cause)}\nand then\n"
    return before + "\n  ".join([type(error).__qualname__, *places(error)])
