"""The API's application. Serve it with `uvicorn --factory qanatix_api.app:create_app`."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache

import httpx2
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi_offline import FastAPIOffline

from qanatix_api import document, failures, logs, methods
from qanatix_api.auth import Authentication, Uses
from qanatix_api.bodies import Bodies
from qanatix_api.dagster import Runs
from qanatix_api.lineage import Lineage
from qanatix_api.looks import Looks
from qanatix_api.rates import Rates
from qanatix_api.repeats import Repeats, sweep
from qanatix_api.request_ids import RequestIds
from qanatix_api.routes import BASE_PATH, router
from qanatix_api.services import Services
from qanatix_pipelines.errors import QanatixError, StoreUnavailable
from qanatix_pipelines.settings import Settings, read_settings
from qanatix_pipelines.store.engine import named
from qanatix_pipelines.store.keys import KeyStore, check_pepper
from qanatix_pipelines.store.opening import open_store

log = logs.logger(__name__)

READERS = 8


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application with these settings, or with those of the environment.

    It opens the store, so a wrong address or key raises SettingsError here and not at the first request. With the
    environment's settings, as a server calls it, it ends the process with one line that says what is wrong.
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
        await run_in_threadpool(store.connectors.erasure.begin)  # finishes what a process that was killed left
        async with httpx2.AsyncClient(verify=_trusted()) as client:
            with ThreadPoolExecutor(READERS, "receipts") as readers:
                runs = Runs(str(settings.dagster_url), store, client, readers, settings.code_location)
                looks = Looks(runs, store.drafts, readers)
                lineage = Lineage(runs, settings.asset_prefix)
                app.state.services = Services(settings, store, key_store, runs, looks, lineage)
                sweeping = asyncio.create_task(sweep(store.answers, store.drafts))
                yield
                sweeping.cancel()
                await looks.finish()
                lineage.close()
                await uses.finish()
        store.engine.dispose()

    app = FastAPIOffline(
        **document.INFO,
        servers=_servers(settings),
        lifespan=lifespan,
        routes=router.routes,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would echo the caller's Host header
    )
    failures.install(app)
    document.install(app)
    logs.install()
    log.info("Store: %s.", named(store.engine))
    # A request passes the middleware in the reverse order.
    app.add_middleware(methods.Heads)
    app.add_middleware(
        Repeats, answers=store.answers, keyed=key_store.keyed, pull_wait_seconds=settings.pull_wait_seconds
    )
    app.add_middleware(Bodies)
    app.add_middleware(Authentication, store=key_store, uses=uses, rates=Rates(settings), prefix=f"{BASE_PATH}/")
    methods.allow_origins(app, settings.origins())
    app.add_middleware(RequestIds)
    return app


@cache
def _trusted() -> ssl.SSLContext:
    """Whose certificates are trusted. To read them takes longer than to answer many requests."""
    return httpx2.create_ssl_context()


def _servers(settings: Settings) -> list[dict[str, str]]:
    """The host of the document comes first: the page /docs calls the first one."""
    here = [{"url": "/", "description": "The host that this document was read from."}]
    if settings.public_url is None:
        return here
    return [*here, {"url": str(settings.public_url).rstrip("/"), "description": "The address for people."}]
