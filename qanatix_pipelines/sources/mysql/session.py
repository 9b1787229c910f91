"""The settings of our MySQL sessions: docs/settings/mysql.md.

What would cut a result short or end it is set to its widest. All else is left as it is.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from qanatix_pipelines.errors import SourceFailed

# Gives the rows of a statement.
Ask = Callable[[str], Awaitable[tuple[tuple[Any, ...], ...]]]

_YEAR = 365 * 24 * 3600
_BIGINT, _INT = 2**64 - 1, 2**32 - 1
# A server has only some of these.
WIDEST: dict[str, int] = {
    "sql_select_limit": _BIGINT,
    "max_execution_time": 0,
    "max_statement_time": 0,
    "group_concat_max_len": 2**30,  # as large as a packet may be
    "cte_max_recursion_depth": _INT,
    "max_recursive_iterations": _INT,
    "max_points_in_geometry": 2**20,
    "sql_big_selects": 1,
    "completion_type": 0,
    "wait_timeout": _YEAR,
    "net_read_timeout": _YEAR,
    "net_write_timeout": _YEAR,
    "lock_wait_timeout": _YEAR,
    "idle_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
    "max_session_mem_used": 2**63 - 1,
    "max_tmp_session_space_usage": 0,
    "tmp_disk_table_size": _BIGINT,
}
# These are set before we read which settings there are. MariaDB makes a temporary table of that.
_FIRST_OF_MARIADB = ("max_statement_time", "tmp_disk_table_size")
_FIRST_OF_MYSQL = ("max_execution_time",)

# The query is sent as UTF-8, and the rows must come as UTF-8. Literals keep the session's own character set and
# collation, from the handshake or the server's init_connect.
_TEXT = "SET SESSION character_set_client = utf8mb4, SESSION character_set_results = utf8mb4"
# The tables, without views, that the account may see.
TABLES = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE'"
_SNAPSHOTS = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


async def open_session(ask: Ask, *, mariadb: bool) -> None:
    """Set what a whole result needs."""
    # First what would cut or end the answer to our own question.
    first = ["sql_select_limit", "sql_big_selects", *(_FIRST_OF_MARIADB if mariadb else _FIRST_OF_MYSQL)]
    await ask(_set(first))
    names = ", ".join(f"'{name}'" for name in WIDEST)
    rows = await ask(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")
    there = [name.decode() for name, _ in rows]
    await ask(_set(there))
    await ask(_TEXT)
    await ask(_SNAPSHOTS)


def limited(rows: int) -> str:
    """A statement after which a query gives no more rows, and the server makes no more.

    A limit around the query would not do: its columns would lose what the server tells of their tables, and its rows
    their order. A limit of the query's own goes before this one.
    """
    return f"SET SESSION sql_select_limit = {rows}"


def given_up(seconds: int, *, mariadb: bool) -> str:
    """A statement after which the server ends a query that takes longer.

    It notices that a client is gone only when it next sends a row. Where our process is killed, nobody else ends it.
    """
    limit = f"max_statement_time = {seconds}" if mariadb else f"max_execution_time = {1000 * seconds}"
    return f"SET SESSION {limit}"


def _set(names: Iterable[str]) -> str:
    return "SET " + ", ".join(f"SESSION {name} = {WIDEST[name]}" for name in names)


async def sql_modes(ask: Ask) -> frozenset[str]:
    """The session's SQL modes. Some decide how the server reads the text of a query."""
    ((modes,),) = await ask("SELECT @@SESSION.sql_mode")
    return frozenset(modes.decode().split(","))


async def check_single_statements(ask: Ask, refusal: type[Exception]) -> None:
    """Raises SourceFailed if the server takes two statements at a time. If not, `ask` raises `refusal`."""
    try:
        await ask("SELECT 1; SELECT 1")
    except refusal:
        return
    raise SourceFailed("The source runs more than one statement at a time, though told not to: nothing was read.")
