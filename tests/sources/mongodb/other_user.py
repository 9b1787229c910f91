"""Somebody else's pymongo, in the process in which we read MongoDB."""

import logging
from typing import Any

from pymongo import AsyncMongoClient, MongoClient
from pymongo.hello import Hello

LARGE = b"x" * (15 * 2**20)
DOCUMENTS = [{"_id": 1, "body": LARGE}, {"_id": 2, "body": b"small", "seen": True}]
ANNOUNCED = 96_000_000
EXPECTED = {
    "asynchronous": DOCUMENTS,
    "synchronous": DOCUMENTS,
    "a cursor is closed at once": True,
    "maximum": ANNOUNCED,
}
LOGGERS = (
    "pymongo",
    "pymongo.client",
    "pymongo.command",
    "pymongo.connection",
    "pymongo.serverSelection",
    "pymongo.topology",
)


async def use(address: str) -> dict[str, Any]:
    """What both of pymongo's clients write and read, with a log-in by SCRAM and more bytes than a row of ours has."""
    async with AsyncMongoClient[dict[str, Any]](address, directConnection=True) as client:
        others = client.qanatix_test.others
        await others.drop()
        await others.insert_many([{"_id": 1, "body": LARGE}, {"_id": 2, "body": b"small"}])
        await others.update_one({"_id": 2}, {"$set": {"seen": True}})
        asynchronous = [document async for document in others.find(sort=[("_id", 1)], batch_size=1)]
        cursor = others.find(batch_size=1)
        await anext(cursor)
        await cursor.close()
        closed = not client._kill_cursors_queue
    return {
        "asynchronous": asynchronous,
        "synchronous": _synchronous(address),
        "a cursor is closed at once": closed,
        "maximum": Hello({"maxMessageSizeBytes": ANNOUNCED}).max_message_size,
    }


def _synchronous(address: str) -> list[dict[str, Any]]:
    with MongoClient[dict[str, Any]](address, directConnection=True) as client:
        others = client.qanatix_test.others
        others.drop()
        others.insert_many([{"_id": 1, "body": LARGE}, {"_id": 2, "body": b"small"}])
        others.update_one({"_id": 2}, {"$set": {"seen": True}})
        return list(others.find(sort=[("_id", 1)], batch_size=1))


def log(text: str) -> None:
    for name in LOGGERS:
        logging.getLogger(name).warning(text)
