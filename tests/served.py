"""The API on a real socket, in this process: for what a test client does not do as a server does."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI

from qanatix_api.app import create_app
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import open_engine
from tests.servers import free_port


@dataclass(frozen=True)
class Served:
    app: FastAPI
    port: int
    key: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def served(settings: Settings) -> Iterator[Served]:
    """The API over `settings`, and a key to it, for as long as the block lasts."""
    app = create_app(settings)
    engine = open_engine(settings)
    key = KeyStore(engine, settings.api_key_pepper()).create("test").text
    engine.dispose()
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive(), "the API did not start"
        yield Served(app, port, key)
    finally:
        server.should_exit = True
        thread.join()
