"""MySQL's clock, and the start of its oldest open transaction and statement."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

from qanatix_pipelines.sources.mysql.session import Ask

SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"

# trx_started is in the session's zone or in the server's. Where both are the same, its instant is certain.
_SERVERS_ZONE = "SET @qanatix_zone = @@SESSION.time_zone, SESSION time_zone = 'SYSTEM'"
_OWN_ZONE = "SET SESSION time_zone = @qanatix_zone, @qanatix_zone = NULL"
# It is local time, which is ambiguous for an hour when summer time ends. There we take the earlier instant.
_STARTED = "UNIX_TIMESTAMP(trx_started) - 3600 * (FROM_UNIXTIME(UNIX_TIMESTAMP(trx_started) - 3600) = trx_started)"
# How many transactions in the list are ours, how many belong to no session, and when the oldest of the others began.
_TRANSACTIONS = (
    "SELECT COUNT(IF(trx_mysql_thread_id = CONNECTION_ID(), 1, NULL)), COUNT(IF(trx_mysql_thread_id = 0, 1, NULL)), "
    f"CAST(MIN(IF(trx_mysql_thread_id = CONNECTION_ID(), NULL, {_STARTED})) AS SIGNED) "
    "FROM information_schema.innodb_trx"
)
# A statement stamps its rows with the time it began, and may wait long before InnoDB lists it.
_STATEMENTS = (
    "SELECT UNIX_TIMESTAMP() - CAST(MAX(time) AS SIGNED) FROM information_schema.processlist "
    "WHERE command IN ('Query', 'Execute') AND user <> 'system user' AND id <> CONNECTION_ID()"
)

# The server renews its list of transactions only after nobody has read it for 0.1 s, and other pulls read it, too.
_LIST_SECONDS = (0, *(0.12 * 1.4**n for n in range(9)))

_NO_PRIVILEGE = 1227


async def reach(ask: Ask, refusal: type[Exception]) -> tuple[datetime, datetime | None, bool]:
    """The source's clock, the time up to which a snapshot that is taken now is complete, and whether we see others'.

    A row that an open transaction stamped may still appear below the clock. So the second is the start of the oldest
    transaction or statement, or the clock where we may not see others' (PROCESS). Starts are told in whole seconds, and
    a transaction may begin a little later than its first statement, so a second is taken off. It is None if it is
    unknown which transactions are open.

    `ask` raises `refusal` with the server's error number as its first argument.
    """
    await ask(_SERVERS_ZONE)
    reached = await _reach(ask, refusal)
    await ask(_OWN_ZONE)
    return reached


async def _reach(ask: Ask, refusal: type[Exception]) -> tuple[datetime, datetime | None, bool]:
    ((text,),) = await ask("SELECT UTC_TIMESTAMP(6)")
    clock = datetime.fromisoformat(text.decode()).replace(tzinfo=UTC)
    # Statements first: one that has ended by now has committed, or its transaction is in the list.
    ((statement,),) = await ask(_STATEMENTS)
    try:
        known, transaction = await _oldest_transaction(ask)
    except refusal as error:
        if error.args[0] != _NO_PRIVILEGE:
            raise
        return clock, clock, False
    if not known:
        return clock, None, True
    began = [datetime.fromtimestamp(time, UTC) for time in (statement, transaction) if time is not None]
    return clock, min([clock, *(time - timedelta(seconds=1) for time in began)]), True


async def _oldest_transaction(ask: Ask) -> tuple[bool, int | None]:
    """Whether it is known, and when the oldest of others' transactions began, in seconds since 1970.

    We open a transaction of our own: a list that has it is newer than this question. A prepared transaction belongs to
    no session, and a restarted server does not know when it began. If the server refuses the list, our transaction
    stays open, and the next one that starts ends it.
    """
    await ask(SNAPSHOT)
    for seconds in _LIST_SECONDS:
        await asyncio.sleep(seconds * random.uniform(1, 1.5))  # noqa: S311  # so that pulls do not wait in step
        ((listed, prepared, oldest),) = await ask(_TRANSACTIONS)
        if listed:
            break
    await ask("COMMIT")
    return bool(listed and not prepared), oldest
