"""What a statement may do in SQLite: read. Asked by SQLite for each part of each statement while it prepares it."""

import sqlite3

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
# What SQLite asks for itself when it first meets a virtual table, such as one of FTS5 or json_each. It writes nothing
# then. A statement that says so is refused by SQLite, which lets nobody write to its own tables.
_DECLARED = (sqlite3.SQLITE_UPDATE, "sqlite_master")
# They reach files, or memory; a library may have been built with more than the usual ones.
_FUNCTIONS = {
    "edit",
    "eval",
    "fsdir",
    "fts3_tokenizer",
    "load_extension",
    "readfile",
    "sqlite_log",
    "writefile",
    "zipfile",
}
# They say what the database is like, as its tables do; `data_version` is what a full-text table asks for itself.
_PRAGMAS = {
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
}
# Of these an argument is a value to set; of the others it is what is asked about.
_SETTABLE = {"application_id", "encoding", "page_size", "schema_version", "user_version"}


def judge(action: int, first: str | None, second: str | None, _database: str | None, _within: str | None) -> int:
    """An authorizer (SQLite's C interface, "Compile-Time Authorization Callbacks")."""
    if action in _READS:
        return sqlite3.SQLITE_OK
    if (action, first) == _DECLARED:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA:
        pragma = (first or "").lower()
        if pragma in _PRAGMAS and not (second and pragma in _SETTABLE):
            return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
