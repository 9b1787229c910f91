"""Somebody else's asyncmy, in the process in which we read MySQL."""

import logging
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncmy
from asyncmy.cursors import DictCursor, SSCursor

from tests.sources.mysql.server import parts

LARGE = 12 * 2**20
EXPECTED = {
    "decimal": Decimal("1.5"),
    "time": timedelta(hours=1),
    "datetime": datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  # MySQL's has no zone
    "text": LARGE,
    "texts": 3 * LARGE,
    "dictionary": {"id": 1, "name": "é"},
    "statements": [1, 2],
    "unbuffered": 100_000,
    "written": "it's",
    "class": asyncmy.connection.Connection,
}
LOGGERS = ("asyncmy",)


async def use(address: str) -> dict[str, Any]:
    """What asyncmy gives where it decodes values, and more bytes than we let a server say before the first row."""
    connection = await asyncmy.connect(**parts(address), charset="utf8mb4")
    try:
        async with connection.cursor() as cursor:

            async def one(statement: str, *values: object) -> Any:
                await cursor.execute(statement, values or None)
                return (await cursor.fetchone())[0]

            got = {
                "decimal": await one("SELECT CAST(1.5 AS DECIMAL(2, 1))"),
                "time": await one("SELECT CAST('01:00:00' AS TIME)"),
                "datetime": await one("SELECT CAST('2026-01-02 03:04:05' AS DATETIME)"),
                "text": len(await one(f"SELECT repeat('x', {LARGE})")),
                "written": await one("SELECT %s", "it's"),
            }
            await cursor.execute(
                f"SELECT repeat('x', {LARGE}) FROM (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) AS n"
            )
            got["texts"] = sum([len(text) for (text,) in await cursor.fetchall()])
            await cursor.execute("SELECT 1; SELECT 2")
            first = await cursor.fetchall()
            await cursor.nextset()
            got["statements"] = [value for (value,) in [*first, *await cursor.fetchall()]]
        async with connection.cursor(DictCursor) as cursor:
            await cursor.execute("SELECT 1 AS id, 'é' AS name")
            got["dictionary"] = await cursor.fetchone()
        async with connection.cursor(SSCursor) as cursor:
            digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
            await cursor.execute(f"SELECT 1 FROM {', '.join(f'({digits}) AS n{n}' for n in range(5))}")
            got["unbuffered"] = len(await cursor.fetchall())
        return got | {"class": type(connection)}
    finally:
        await connection.ensure_closed()


def log(text: str) -> None:
    for name in LOGGERS:
        logging.getLogger(name).warning(text)
