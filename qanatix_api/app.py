"""The API's application. Serve it with `uvicorn --factory qanatix_api.app:create_app`."""

import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline

from qanatix_api import connectors, entities, failures, keys, logs, pauses, pulls
from qanatix_api.auth import Authentication, Uses
from qanatix_api.bodies import Bodies
from qanatix_api.failures import problem
from qanatix_api.lineage import Lineage
from qanatix_api.parameters import KNOWN_ONLY
from qanatix_api.rates import Rates
from qanatix_api.request_ids import RequestIds
from qanatix_api.runs import Runs
from qanatix_api.services import Services, Shared
from qanatix_pipelines.errors import QanatixError, StoreUnavailable
from qanatix_pipelines.settings import Settings, read_settings
from qanatix_pipelines.store.engine import named
from qanatix_pipelines.store.keys import KeyStore, check_pepper
from qanatix_pipelines.store.opening import open_store

log = logs.logger(__name__)

BASE_PATH = "/api/v1"
READERS = 8
AWAY: dict[int | str, dict[str, Any]] = {503: problem("The store cannot be reached.")}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application over `settings`, else over the environment.

    Opens the store, so a wrong address or key raises SettingsError here and not at the first request; over the
    environment, where whoever serves the API calls this, it ends the process with one line that says what is wrong.
    """
    if settings is not None:
        return _app(settings)
    try:
        return _app(read_settings())
    except StoreUnavailable as error:
        sys.exit(f"The API does not start. {error.reason or error}")
    except QanatixError as error:
        sys.exit(f"The API does not start. {error}")


def _app(settings: Settings) -> FastAPI:
    store = open_store(settings)
    pepper = settings.api_key_pepper()
    check_pepper(store.engine, pepper)
    key_store = KeyStore(store.engine, pepper)
    uses = Uses(key_store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(store.connectors.erasure.begin)  # what a process that was killed could not
        async with httpx2.AsyncClient() as client:
            with ThreadPoolExecutor(READERS, "receipts") as readers:
                runs = Runs(str(settings.dagster_url), store, client, readers)
                lineage = Lineage(runs)
                app.state.services = Services(settings, store, key_store, runs, lineage)
                yield
                lineage.close()
                await uses.finish()
        store.engine.dispose()

    app = FastAPIOffline(
        title="QANATIX Connectors API",
        version="0.1.0",
        summary="Register a database and a query; each pull ingests what is new or changed, exactly.",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would repeat the caller's Host
    )
    failures.install(app)
    logs.install()
    log.info("Store: %s.", named(store.engine))
    # The last to be added is the first that a request comes to.
    app.add_middleware(Bodies)
    app.add_middleware(Authentication, store=key_store, uses=uses, rates=Rates(settings), prefix=f"{BASE_PATH}/")
    app.add_middleware(RequestIds)
    api = APIRouter(
        prefix=BASE_PATH,
        dependencies=KNOWN_ONLY,
        responses={
            400: problem("The body is no JSON."),
            401: problem("There is no valid API key."),
            403: problem("The API key lacks a scope."),
            408: problem("The body took too long to arrive."),
            413: problem("The body is too long."),
            415: problem("The body is not sent as JSON in UTF-8, or is compressed."),
            422: problem("Something in the request is wrong."),
            429: problem("Too many requests a minute; Retry-After says when to come again."),
            **AWAY,
        },
    )
    api.include_router(connectors.router)
    api.include_router(pulls.router)
    api.include_router(pauses.router)
    api.include_router(entities.router)
    api.include_router(keys.router)
    app.include_router(api)

    @app.get(
        "/healthz",
        tags=["health"],
        summary="Whether the API and its store answer",
        responses=AWAY,
        dependencies=KNOWN_ONLY,
    )
    def healthz(shared: Shared) -> dict[str, str]:
        shared.store.ping()
        return {"status": "ok"}

    @app.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
