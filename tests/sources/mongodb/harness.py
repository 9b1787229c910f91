"""MongoDB's `items`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.database import Database

from tests.sources.harness import Harness

DATABASE = "qanatix_test"
Client = MongoClient[dict[str, Any]]


class MongoDBHarness(Harness):
    connector_type = "mongodb"
    everything = '{"filter": {}, "sort": {"_id": 1}}'
    since = '{"updated_at": {"$gt": ":last_pull"}}'
    above = '{"_id": {"$gt": ":last_pull"}}'
    during = '{"updated_at": {"$gt": ":last_pull", "$lte": ":until"}}'
    among = '{"_id": {"$gt": ":last_pull", "$lte": ":until"}}'
    id_column = "_id"
    nothing = '{"_id": -1}'
    nameless = '{"filter": {}, "projection": {"name": 0}}'
    rejected = '{"$expr": {"$eq": [1, {"$divide": [1, 0]}]}}'
    missing = None  # an empty collection
    repeated = None
    writing = None
    greatest_body = 20 * 2**20  # a document has 16 MiB at most

    @property
    def config(self) -> dict[str, Any]:
        return {"uri": self.server.address, "database": DATABASE, "collection": "items"}

    def changed(
        self, *, host: str | None = None, port: int | None = None, password: str | None = None
    ) -> dict[str, Any]:
        parts = urlsplit(self.server.address)
        address = f"{host or parts.hostname}:{port or parts.port}"
        uri = f"mongodb://{parts.username}:{password or parts.password}@{address}{parts.path}?tls=false"
        return self.config | {"uri": uri}

    def fill(self, rows: int) -> None:
        with self.database() as database:
            database.items.drop()
            yesterday = self._now(database) - 24 * 60 * 60 * 1000
            if rows:
                database.items.insert_many(
                    {"_id": n, "name": f"Item {n}", "updated_at": DatetimeMS(yesterday)} for n in range(1, rows + 1)
                )

    def touch(self, ids: Sequence[int]) -> None:
        with self.database() as database:
            now = DatetimeMS(self._now(database))
            database.items.update_many({"_id": {"$in": list(ids)}}, {"$set": {"updated_at": now}})

    def forget_name(self, item: int) -> None:
        with self.database() as database:
            database.items.update_one({"_id": item}, {"$set": {"name": None}})

    def with_body(self, size: int, item: int | None = None) -> str:
        body, short = {"body": bytes(size // 4 * 3)}, {"body": b"x"}  # in JSON, base64
        with self.database() as database:
            database.items.update_many({}, {"$set": body if item is None else short})
            database.items.update_one({"_id": item}, {"$set": body})
        return self.everything

    def connections(self) -> int:
        return len(self._operations())

    def slow(self) -> str:
        with self.database() as database:
            database.items.drop()
            database.items.insert_many({"_id": n, "name": "1" * 20_000} for n in range(1, 2001))
        return '{"name": {"$regex": "1*1*[^1]"}}'

    def at_work(self) -> int:
        return sum(operation["active"] and "find" in operation.get("command", {}) for operation in self._operations())

    def _operations(self) -> list[dict[str, Any]]:
        with self.client() as client:
            running = client.admin.command("currentOp", {"$all": True})["inprog"]
        return [operation for operation in running if operation.get("appName") == "qanatix"]

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(self.server.address, directConnection=True) as client:
            yield client

    @contextmanager
    def database(self) -> Iterator[Database[dict[str, Any]]]:
        with self.client() as client:
            yield client[DATABASE]

    def _now(self, database: Database[dict[str, Any]]) -> int:
        return int(DatetimeMS(database.command("hello")["localTime"]))
