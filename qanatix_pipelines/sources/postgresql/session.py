"""How our transactions at PostgreSQL begin, and the few settings they change: docs/settings/postgresql.md."""

from collections.abc import Mapping

# Limits that would end a pull or leave rows out of it are set to their widest. All else stays as psql would find it.
# Each has the major version that it came with.
_WIDEST = {
    "SET LOCAL statement_timeout = 0": 8,
    "SET LOCAL lock_timeout = 0": 9,
    "SET LOCAL idle_in_transaction_session_timeout = 0": 9,
    "SET LOCAL tcp_user_timeout = 0": 12,
    "SET LOCAL transaction_timeout = 0": 17,
    "SET LOCAL gin_fuzzy_search_limit = 0": 8,
    "SET LOCAL client_min_messages = error": 8,
}
# The names in our own questions must be PostgreSQL's, not a user's.
_ASKING = {"SET LOCAL search_path = pg_catalog": 8}
# How often the server checks that we are still there. Otherwise it would go on with a query after our process was
# killed or the connection broke.
_NOTICED = {"SET LOCAL client_connection_check_interval = '5s'": 14}


def asking(version: int) -> str:
    """Statements that begin the transaction of our own questions, for a server of this major version."""
    return _begun("READ COMMITTED", _WIDEST | _ASKING, version)


def reading(version: int, *, notices: bool) -> str:
    """Statements that end that transaction and begin the user's query's. Its one snapshot is taken by the first query.

    `notices` says whether the server's operating system can tell it that a client is gone.
    """
    return f"COMMIT; {_begun('REPEATABLE READ', _WIDEST | (_NOTICED if notices else {}), version)}"


def _begun(isolation: str, settings: Mapping[str, int], version: int) -> str:
    known = (setting for setting, since in settings.items() if version >= since)
    return "; ".join([f"BEGIN ISOLATION LEVEL {isolation} READ ONLY", *known])
