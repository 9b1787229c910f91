"""Somebody else's asyncpg, in the process in which we read PostgreSQL."""

import logging
from datetime import date
from decimal import Decimal
from typing import Any

import asyncpg

LARGE = 24 * 2**20
EXPECTED = {
    "numeric": Decimal("1.5"),
    "date": True,
    "jsonb": "{}",
    "text": LARGE,
    "array": [1, 2, None],
    "record": (1, "a"),
    "records": [(1, "a"), (2, "b")],
    "prepared": [1, 2, 3],
    "many rows": 200_000,
    "composite": (7, Decimal("2.50")),
    "class": asyncpg.protocol.Protocol,
}
LOGGERS = ("asyncpg", "asyncpg.pool")


async def use(address: str) -> dict[str, Any]:
    """What asyncpg gives for all that needs its own codecs, and more bytes than we let a server say."""
    connection = await asyncpg.connect(address)
    try:
        await connection.execute("CREATE TEMPORARY TABLE priced (id int, price numeric(5, 2))")
        prepared = await connection.prepare("SELECT $1::int + n FROM generate_series(0, 2) AS n")
        async with connection.transaction():
            rows = [
                row async for row in connection.cursor("SELECT n, repeat('x', 100) FROM generate_series(1, 200000) n")
            ]
        return {
            "numeric": await connection.fetchval("SELECT 1.5::numeric"),
            "date": isinstance(await connection.fetchval("SELECT now()::date"), date),
            "jsonb": await connection.fetchval("SELECT '{}'::jsonb"),
            "text": len(await connection.fetchval(f"SELECT repeat('x', {LARGE})")),
            "array": await connection.fetchval("SELECT ARRAY[1, 2, NULL]"),
            "record": tuple(await connection.fetchval("SELECT ROW(1, 'a'::text)")),
            "records": [
                tuple(one) for one in await connection.fetchval("SELECT ARRAY[ROW(1, 'a'::text), ROW(2, 'b'::text)]")
            ],
            "prepared": [value for (value,) in await prepared.fetch(1)],
            "many rows": len(rows),
            "composite": tuple(await connection.fetchval("SELECT ROW(7, 2.5)::pg_temp.priced")),
            "class": type(connection._protocol),
        }
    finally:
        await connection.close()


def log(text: str) -> None:
    """As the driver itself does: of its log lines none can be had in less than a minute."""
    for name in LOGGERS:
        logging.getLogger(name).warning(text)
