"""A webserver of Dagster's that answers what a test says, on a real socket. All that is ours is real."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qanatix_api import runs


class FakeDagster:
    """`on_launch` is given a launch's tags and answers its run's id; `statuses` are what runs are said to be."""

    def __init__(self, on_launch: Callable[[dict[str, str]], str]) -> None:
        self.on_launch = on_launch
        self.statuses: dict[str, str] = {}
        self.launches: list[dict[str, Any]] = []
        self.raw: bytes | None = None  # what is answered instead, if it is not Dagster that answers
        self.partitions: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        if document == runs.LAUNCH:
            self.launches.append(variables)
            tags = {tag["key"]: tag["value"] for tag in variables["execution"]["executionMetadata"]["tags"]}
            return {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": self.on_launch(tags)}}}
        if document == runs.STATUS:
            status = self.statuses.get(variables["run"])
            return {"runOrError": {"__typename": "Run", "status": status}}
        if document in (runs.ADD_PARTITION, runs.DELETE_PARTITION):
            kind = "add" if document == runs.ADD_PARTITION else "delete"
            self.partitions.append((kind, variables["partition"]))
            return {f"{kind}DynamicPartition": {"__typename": "Success"}}
        assert document == runs.TERMINATE
        return {"terminateRun": {"__typename": "TerminateRunSuccess"}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = fake.answer(asked["query"], asked["variables"]) if fake.raw is None else None
                body = fake.raw or json.dumps({"data": answer}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        return Handler
