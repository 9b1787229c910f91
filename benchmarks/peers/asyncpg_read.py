"""asyncpg: a table through a cursor, 5,000 rows a batch, each dropped. Arguments: source."""

import asyncio
import sys

import asyncpg


async def read(source: str) -> None:
    connection = await asyncpg.connect(source)
    async with connection.transaction(readonly=True):
        cursor = await connection.cursor("SELECT * FROM items")
        while await cursor.fetch(5000):
            pass
    await connection.close()


asyncio.run(read(sys.argv[1]))
