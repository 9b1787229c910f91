"""PostgreSQL's transactions: how they begin, and the few settings of theirs. docs/settings/postgresql.md has all."""

from collections.abc import Mapping

# What would end a pull, or leave rows out of it, is as wide as can be; all else is as psql would find it. These, since
# that version.
_WIDEST = {
    "SET LOCAL statement_timeout = 0": 8,
    "SET LOCAL lock_timeout = 0": 9,
    "SET LOCAL idle_in_transaction_session_timeout = 0": 9,
    "SET LOCAL tcp_user_timeout = 0": 12,
    "SET LOCAL transaction_timeout = 0": 17,
    "SET LOCAL gin_fuzzy_search_limit = 0": 8,
    "SET LOCAL client_min_messages = error": 8,
}
# Our own questions have names that must not be looked for elsewhere.
_ASKING = {"SET LOCAL search_path = pg_catalog": 8}
# Where the server can, it looks so often whether we are there still: else it would go on with the query of a process
# that was killed, or of a connection that broke.
_NOTICED = {"SET LOCAL client_connection_check_interval = '5s'": 14}


def asking(version: int) -> str:
    """Statements that begin a transaction for questions of our own, at a server of this major version."""
    return _begun("READ COMMITTED", _WIDEST | _ASKING, version)


def reading(version: int, *, notices: bool) -> str:
    """Statements that end that one, and begin the user's query's: one snapshot, which is not taken yet.

    `notices` says whether the server's system lets it notice that a client is gone.
    """
    return f"COMMIT; {_begun('REPEATABLE READ', _WIDEST | (_NOTICED if notices else {}), version)}"


def _begun(isolation: str, settings: Mapping[str, int], version: int) -> str:
    known = (setting for setting, since in settings.items() if version >= since)
    return "; ".join([f"BEGIN ISOLATION LEVEL {isolation} READ ONLY", *known])
