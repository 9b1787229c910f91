"""Whoever uses a driver beside us, in a process that has loaded our definitions and has read, finds it as it was.

Each database's `other_user` module says what such a one asks of the driver, and what the driver alone answers.
"""

import asyncio
import importlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qanatix_pipelines.settings import new_fernet_key
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.driver import ours
from qanatix_pipelines.watermarks import Window
from tests.conftest import server
from tests.sources.databases import DATABASES
from tests.sources.harness import Harness
from tests.sources.mongodb import other_user as mongodb
from tests.sources.mysql import other_user as mysql
from tests.sources.neo4j import other_user as neo4j
from tests.sources.postgresql import other_user as postgresql

# By our connector types: the driver's other user. `use(address)` gives EXPECTED where the driver is as it was, and
# `log(text)` logs a text to each of LOGGERS as the driver would: the first has the driver's name, all others one below.
OTHER_USERS: dict[str, ModuleType] = {
    "postgresql": postgresql,
    "mysql": mysql,
    "mysql97": mysql,
    "mongodb": mongodb,
    "neo4j": neo4j,
}
ROWS = 3000


def _harness(name: str) -> Harness:
    return DATABASES[name].harness(server(name))


async def _read(harness: Harness, opened: asyncio.Event | None = None) -> int:
    """How many rows one of our readings has. `opened` is set when the first of them are there."""
    source, rows = open_source(harness.connector_type, harness.config, **harness.allowed), 0
    async with source.read(harness.everything, window=Window(), batch_size=100) as reading:
        async for batch in reading.batches:
            rows += batch.frame.height
            if opened is not None:
                opened.set()
    return rows


@pytest.fixture(scope="module")
def our_definitions(template_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Our definitions are loaded in this process, and a database of each kind was read in it."""
    with pytest.MonkeyPatch.context() as environment:
        data_dir = tmp_path_factory.mktemp("data")
        shutil.copy(template_store, data_dir)
        environment.setenv("QANATIX_DATA_DIR", str(data_dir))
        environment.setenv("CONNECTOR_ENCRYPTION_KEY", new_fernet_key())
        importlib.import_module("qanatix_pipelines.definitions")
        for name in DATABASES:
            harness = _harness(name)
            harness.fill(ROWS)
            assert asyncio.run(_read(harness)) == ROWS
        yield


@pytest.mark.server
@pytest.mark.usefixtures("our_definitions")
@pytest.mark.parametrize("name", OTHER_USERS)
def test_another_user_of_a_driver_gets_what_the_driver_gives(name: str) -> None:
    other = OTHER_USERS[name]

    assert asyncio.run(other.use(server(name).address)) == other.EXPECTED


@pytest.mark.server
@pytest.mark.usefixtures("our_definitions")
@pytest.mark.parametrize("name", OTHER_USERS)
def test_another_user_of_a_driver_is_served_while_we_read(name: str) -> None:
    async def beside() -> tuple[Any, int, int]:
        """A reading is opened before, one is begun at the same time, and both go on meanwhile."""
        harness, opened = _harness(name), asyncio.Event()
        before = asyncio.create_task(_read(harness, opened))
        await opened.wait()
        return await asyncio.gather(OTHER_USERS[name].use(server(name).address), before, _read(harness))

    theirs, *ours = asyncio.run(beside())

    assert theirs == OTHER_USERS[name].EXPECTED
    assert ours == [ROWS, ROWS]


@pytest.mark.server
@pytest.mark.usefixtures("our_definitions")
@pytest.mark.parametrize("name", OTHER_USERS)
def test_another_user_of_a_driver_is_served_within_one_of_our_readings(name: str) -> None:
    async def within() -> Any:
        harness = _harness(name)
        source = open_source(harness.connector_type, harness.config)
        async with source.read(harness.everything, window=Window(), batch_size=100) as reading:
            await anext(aiter(reading.batches))
            return await OTHER_USERS[name].use(server(name).address)

    assert asyncio.run(within()) == OTHER_USERS[name].EXPECTED


@pytest.mark.server
@pytest.mark.usefixtures("our_definitions")
@pytest.mark.parametrize("name", OTHER_USERS)
def test_what_a_driver_logs_for_another_user_is_logged_while_we_read(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def beside() -> None:
        opened = asyncio.Event()
        reading = asyncio.create_task(_read(_harness(name), opened))
        await opened.wait()
        OTHER_USERS[name].log("said for another user")
        await reading

    asyncio.run(beside())

    said = [record.name for record in caplog.records if record.getMessage() == "said for another user"]
    assert sorted(said) == sorted(OTHER_USERS[name].LOGGERS)


@pytest.mark.server
@pytest.mark.usefixtures("our_definitions")
@pytest.mark.parametrize("name", OTHER_USERS)
def test_what_a_driver_logs_in_our_work_is_dropped_by_each_of_its_loggers(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = OTHER_USERS[name]
    driver = other.LOGGERS[0]
    known = logging.root.manager.loggerDict
    made = [one for one in known if one == driver or one.startswith(f"{driver}.")]

    with ours():
        other.log("said in our work")

    assert sorted(one for one in made if isinstance(known[one], logging.Logger)) == sorted(other.LOGGERS)
    assert not [record for record in caplog.records if record.name in other.LOGGERS]


@pytest.mark.server
@pytest.mark.usefixtures("our_definitions")
@pytest.mark.parametrize("name", OTHER_USERS)
def test_no_logger_of_a_driver_has_a_level_of_ours(name: str) -> None:
    assert {logging.getLogger(one).level for one in OTHER_USERS[name].LOGGERS} == {logging.NOTSET}
