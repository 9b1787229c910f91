"""MySQL's clock, and how far back its oldest transaction and statement hold it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Ask = Callable[[str], Awaitable[tuple[tuple[Any, ...], ...]]]

SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"

# trx_started is in the session's zone or the server's: where those are the same, its instant is sure.
_SERVERS_ZONE = "SET @qanatix_zone = @@SESSION.time_zone, SESSION time_zone = 'SYSTEM'"
_OWN_ZONE = "SET SESSION time_zone = @qanatix_zone, @qanatix_zone = NULL"
# It is local time, which says the same twice when summer time ends: then the earlier is meant, to be sure.
_STARTED = "UNIX_TIMESTAMP(trx_started) - 3600 * (FROM_UNIXTIME(UNIX_TIMESTAMP(trx_started) - 3600) = trx_started)"
# Whether a transaction of ours is in the list, whether one of no session's, and when the oldest of others' began.
_TRANSACTIONS = (
    "SELECT COUNT(IF(trx_mysql_thread_id = CONNECTION_ID(), 1, NULL)), COUNT(IF(trx_mysql_thread_id = 0, 1, NULL)), "
    f"CAST(MIN(IF(trx_mysql_thread_id = CONNECTION_ID(), NULL, {_STARTED})) AS SIGNED) "
    "FROM information_schema.innodb_trx"
)
# A statement stamps what it writes with its own beginning, and may wait long before InnoDB hears of it.
_STATEMENTS = (
    "SELECT UNIX_TIMESTAMP() - CAST(MAX(time) AS SIGNED) FROM information_schema.processlist "
    "WHERE command IN ('Query', 'Execute') AND user <> 'system user' AND id <> CONNECTION_ID()"
)

# The server renews its list of transactions only when nobody has read it for 0.1 s; pulls beside this one read it, too.
_LIST_SECONDS = (0, *(0.12 * 1.4**n for n in range(9)))

_NO_PRIVILEGE = 1227


async def reach(ask: Ask, refusal: type[Exception]) -> tuple[datetime, datetime | None]:
    """The source's clock, and how far back its oldest transaction and statement hold it, if we may see them (PROCESS).

    A row stamped in one that has not ended may yet appear below the clock. Both tell whole seconds, and a transaction
    may have begun a little later than its first statement: so a second is taken off. None if it is not known which
    transactions there are. `ask` gives a statement's rows; what it raises of the type `refusal` has the server's number
    for its first argument.
    """
    await ask(_SERVERS_ZONE)
    reached = await _reach(ask, refusal)
    await ask(_OWN_ZONE)
    return reached


async def _reach(ask: Ask, refusal: type[Exception]) -> tuple[datetime, datetime | None]:
    ((text,),) = await ask("SELECT UTC_TIMESTAMP(6)")
    clock = datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)
    # In this order: a statement that is over by now has left its transaction to the list, or has committed it.
    ((statement,),) = await ask(_STATEMENTS)
    try:
        known, transaction = await _oldest_transaction(ask)
    except refusal as error:
        if error.args[0] != _NO_PRIVILEGE:
            raise
        return clock, clock
    if not known:
        return clock, None
    began = [datetime.fromtimestamp(time, UTC) for time in (statement, transaction) if time is not None]
    return clock, min([clock, *(time - timedelta(seconds=1) for time in began)])


async def _oldest_transaction(ask: Ask) -> tuple[bool, int | None]:
    """Whether that is known, and when the oldest of others' began, in seconds since 1970.

    A list that is newer than this question has a transaction of our own. Of one that no session has, a prepared one,
    a server that was started again does not know when it began. Where the list is refused, our transaction is left
    open: the next one that is started ends it.
    """
    await ask(SNAPSHOT)
    for seconds in _LIST_SECONDS:
        await asyncio.sleep(seconds * random.uniform(1, 1.5))  # noqa: S311  # lest pulls wait in step
        ((listed, prepared, oldest),) = await ask(_TRANSACTIONS)
        if listed:
            break
    await ask("COMMIT")
    return bool(listed and not prepared), oldest
