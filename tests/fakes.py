"""A webserver of Dagster's that answers what a test says, on a real socket. All that is ours is real."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import polars as pl

from qanatix_api import dagster, lineage, looks
from qanatix_pipelines.entities import EntityBatch
from qanatix_pipelines.naming import DRAFT_TAG, PULL_TAG
from qanatix_pipelines.store.ingestion import Ingestion
from qanatix_pipelines.store.opening import Store


class FakeDagster:
    """`on_launch` is given a launch's tags and answers its run's id; `statuses` are what runs are said to be.

    `on_look` is the same for tests and dry runs, which are started otherwise.
    """

    def __init__(self, on_launch: Callable[[dict[str, str]], str]) -> None:
        self.on_launch = on_launch
        self.on_look: Callable[[dict[str, str]], str] = lambda _tags: str(uuid4())
        self.statuses: dict[str, str] = {}
        self.looking: dict[str, str] = {}  # runs of drafts
        self.launches: list[dict[str, Any]] = []
        self.faults = 0  # to how many requests it will answer 500
        self.raw: bytes | None = None  # what is answered instead, if it is not Dagster that answers
        self.partitions: list[tuple[str, str]] = []
        self.shown: dict[tuple[str, ...], list[list[str]]] = {}  # entity sets, and what fills them
        self.reloads = 0
        self.terminated: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        if document in (dagster.LAUNCH, looks.LOOK):
            return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": self._launched(variables)}}}
        if document in (dagster.STATUS, dagster.STATUSES, looks.OF_DRAFT):
            return self._status(variables)
        if document == dagster.ADD_PARTITION:
            self.partitions.append(("add", variables["partition"]))
            return {"addDynamicPartition": {"__typename": "Success"}}
        if document == lineage.SHOWN:
            parents = self.shown.get(tuple(variables["key"]["path"]))
            return {"assetNodeOrError": {} if parents is None else {"dependencyKeys": [{"path": p} for p in parents]}}
        if document == lineage.RELOAD:
            self.reloads += 1
            return {"reloadRepositoryLocation": {"__typename": "WorkspaceLocationEntry"}}
        assert document == dagster.TERMINATE
        self.terminated.append(variables["run"])
        return {"terminateRun": {"__typename": "TerminateRunSuccess"}}

    def _launched(self, variables: dict[str, Any]) -> str:
        self.launches.append(variables)
        tags = {tag["key"]: tag["value"] for tag in variables["execution"]["executionMetadata"]["tags"]}
        if DRAFT_TAG not in tags:
            return self.on_launch(tags)
        run_id = self.on_look(tags)
        self.looking[run_id] = tags[DRAFT_TAG]
        return run_id

    def _status(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Of a run, of several, or of those of a draft."""
        if "run" in asked:
            return {"runOrError": {"__typename": "Run", "status": self.statuses.get(asked["run"])}}
        if "runs" in asked:
            known = [{"runId": run, "status": self.statuses[run]} for run in asked["runs"] if run in self.statuses]
            return {"runsOrError": {"__typename": "Runs", "results": known}}
        (tag,) = asked["filter"]["tags"]
        found = [run for run, draft in self.looking.items() if draft == tag["value"]]
        results = [{"runId": run, "status": self.statuses.get(run, "STARTED")} for run in found]
        return {"runsOrError": {"__typename": "Runs", "results": results}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                broken, fake.faults = fake.faults > 0, max(0, fake.faults - 1)
                real = fake.raw is None and not broken
                answer = fake.answer(asked["query"], asked["variables"]) if real else None
                body = fake.raw or json.dumps({"data": answer}).encode()
                self.send_response(500 if broken else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        return Handler


def completing(store: Store, run: str | None = None) -> Callable[[dict[str, str]], str]:
    """What a launch does where each run completes its pull at once, with one entity of three rows in 120 bytes.

    A run is new, or the one with the id `run`.
    """

    def complete(tags: dict[str, str]) -> str:
        run_id = run or str(uuid4())
        connector = store.connectors.by_partition(tags["dagster/partition"])
        receipt = store.pulls.claim(UUID(tags[PULL_TAG]), connector, run_id)
        frame = pl.DataFrame(
            {
                "id": [UUID(int=7).bytes],
                "source_id": ["7"],
                "digest": [bytes(32)],
                "name": ["Bolt"],
                "data": ['{"price":12.50,"big":123456789012345678901234567890.5}'],
                "alike": [3],
            }
        )
        ingestion = Ingestion(store.engine, connector, receipt)
        ingestion.stage(EntityBatch(frame, [], 2), 3, 120)
        ingestion.commit(None, datetime.now(UTC), time.monotonic() - 0.25)
        return run_id

    return complete
