"""What a source says to MySQL and MariaDB means their own functions, whatever stored ones are called as they are.

Both look among their own first, and find a stored one of the same name only by its schema's (MySQL manual, "Function
Name Parsing and Resolution").
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from qanatix_pipelines.sources import open_source
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute

# Functions in our own statements whose names a stored function can have, and how many arguments each has.
NAMES = {
    "connection_id": 0,
    "utc_timestamp": 1,
    "unix_timestamp": 1,
    "from_unixtime": 1,
    "convert_tz": 3,
    "coalesce": 2,
}


def read(harness: MySQLHarness) -> tuple[list[tuple[Any, ...]], bool]:
    async def rows() -> tuple[list[tuple[Any, ...]], bool]:
        source = open_source("mysql", harness.config)
        window = Window(datetime(2020, 1, 1, tzinfo=UTC), overlap=0)
        async with source.read(harness.since + " ORDER BY id", window=window, batch_size=100) as reading:
            return [row async for batch in reading.batches for row in batch.frame.iter_rows()], bool(reading.watermark)

    return asyncio.run(rows())


@pytest.mark.parametrize(
    "mode", ["", "IGNORE_SPACE", "ANSI", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE"]
)
def test_a_pull_is_the_same_where_stored_functions_shadow_those_of_the_server(mysql_server: Server, mode: str) -> None:
    harness = MySQLHarness(mysql_server)
    harness.fill(3)
    before = read(harness)
    ((kept,),) = execute(mysql_server.address, "SELECT @@GLOBAL.sql_mode")
    made = [
        f"CREATE FUNCTION `{name}` ({_arguments(count)}) RETURNS int DETERMINISTIC RETURN 7"
        for name, count in NAMES.items()
    ]
    try:
        execute(mysql_server.address, f"SET GLOBAL sql_mode = '{mode}'")
        execute(mysql_server.address, *made)

        assert read(harness) == before
        assert len(before[0]) == 3
    finally:
        execute(mysql_server.address, f"SET GLOBAL sql_mode = '{kept}'")
        execute(mysql_server.address, *(f"DROP FUNCTION IF EXISTS `{name}`" for name in NAMES))


def _arguments(count: int) -> str:
    return ", ".join(f"a{place} text" for place in range(count))
