"""Exceptions as they may be shown: which they are and where they were raised, never what they say."""

import traceback


def places(error: BaseException) -> list[str]:
    """The calls that led to where `error` was raised, the outermost first: `file:line in function`.

    Its text is left out, and so are the calls' arguments: a row, an address or a password may stand in them.
    """
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def outline(error: BaseException) -> str:
    """As a log shows it: its type and places, and before it those of what it followed from."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else f"{outline(cause)}\nand then\n"
    return before + "\n  ".join([type(error).__qualname__, *places(error)])
