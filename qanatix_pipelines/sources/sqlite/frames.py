"""What our process and its child say to each other: frames of JSON, each with its length and its kind before it.

The child loads this, too. It has the standard library alone, and so have all modules that it loads.
"""

import struct
from enum import StrEnum

HEAD = struct.Struct("!Ic")

REQUEST = b"Q"
# The file is open, and is one that may be read.
OPENED = b"O"
# What is expected of a query that is limited: {"steps": of its plan, the one above and the step's detail, "columns": by
# tables that the request names, name, declared type and place in the key, "rows": of tables that ANALYZE has counted}.
EXPECTED = b"P"
# The names of the columns. Null if the statement is one that returns no rows.
COLUMNS = b"C"
# Rows. An oversized row is null. A blob is {"blob": its bytes in base64}, and a text that is no UTF-8 is {}.
ROWS = b"R"
# There are no more rows. Says whether the query compares texts with numbers.
END = b"E"
# Why there is no more: {"why": ...}, or SQLite's {"code": ..., "message": ..., "asked": ...}, or {"error": its type}.
FAULT = b"F"

BLOB = "blob"


class Why(StrEnum):
    """Why a file is not read, or no longer."""

    NOT_OPEN = "not open"
    LINK = "link"
    NAMES = "names"
    KIND = "kind"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    STORE = "store"
    CHANGED = "changed"
    COLUMN = "column"
    MEMORY = "memory"


class Unread(Exception):
    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why
