"""When the API has Dagster load its code anew, beside a webserver that counts that."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from qanatix_api.dagster import Runs
from qanatix_api.lineage import Lineage
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.opening import Store, open_store
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.fakes import FakeDagster
from tests.test_store import NEW

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))
    yield opened
    opened.engine.dispose()


@pytest.fixture
def dagster() -> Iterator[FakeDagster]:
    fake = FakeDagster(lambda _tags: "run")
    yield fake
    fake.stop()


def registered(store: Store, dagster: FakeDagster, *connectors: Connector) -> int:
    """How often Dagster was told to load its code anew after these registrations."""

    async def register() -> None:
        with ThreadPoolExecutor(1) as readers:
            async with httpx2.AsyncClient() as client:
                lineage = Lineage(Runs(dagster.url, store, client, readers, "qanatix"), settle_seconds=0.05)
                for connector in connectors:
                    lineage.expect(connector)
                assert lineage._showing is not None
                await lineage._showing

    asyncio.run(register())
    return dagster.reloads


def test_a_set_that_dagster_does_not_know_has_it_load_its_code_anew(store: Store, dagster: FakeDagster) -> None:
    assert registered(store, dagster, store.connectors.add(NEW)) == 1


def test_many_registrations_share_one_reload(store: Store, dagster: FakeDagster) -> None:
    connectors = [store.connectors.add(NEW.model_copy(update={"entity_type": f"t{number}"})) for number in range(20)]

    assert registered(store, dagster, *connectors) == 1


def test_a_set_that_is_shown_already_costs_nothing(store: Store, dagster: FakeDagster) -> None:
    dagster.shown["manufacturing", "product"] = [["connectors", "postgresql"]]

    assert registered(store, dagster, store.connectors.add(NEW)) == 0


def test_a_set_that_is_filled_by_another_type_now_is_shown_so(store: Store, dagster: FakeDagster) -> None:
    dagster.shown["manufacturing", "product"] = [["connectors", "mysql"]]

    assert registered(store, dagster, store.connectors.add(NEW)) == 1


def test_a_dagster_that_is_away_is_told_nothing(store: Store, dagster: FakeDagster) -> None:
    dagster.raw = b"<html>a proxy's page</html>"

    assert registered(store, dagster, store.connectors.add(NEW)) == 0


def test_a_pull_that_dagster_did_not_start_has_it_load_its_code_anew(store: Store, dagster: FakeDagster) -> None:
    async def fail_twice() -> None:
        with ThreadPoolExecutor(1) as readers:
            async with httpx2.AsyncClient() as client:
                lineage = Lineage(Runs(dagster.url, store, client, readers, "qanatix"), settle_seconds=0.05)
                lineage.revive()
                lineage.revive()
                assert lineage._showing is not None
                await lineage._showing

    asyncio.run(fail_twice())

    assert dagster.reloads == 1
