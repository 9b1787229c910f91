"""asyncmy: a table through an unbuffered cursor, 5,000 rows a batch, each dropped. Arguments: source."""

import asyncio
import sys
from urllib.parse import unquote, urlsplit

import asyncmy
from asyncmy.cursors import SSCursor


async def read(source: str) -> None:
    parts = urlsplit(source)
    connection = await asyncmy.connect(
        host=parts.hostname,
        port=parts.port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=parts.path.removeprefix("/"),
    )
    async with connection.cursor(SSCursor) as cursor:
        await cursor.execute("SELECT * FROM items")
        while await cursor.fetchmany(5000):
            pass
    connection.close()


asyncio.run(read(sys.argv[1]))
