"""A driver is changed for our connections only, and never in silence where it is not as we know it."""

import asyncio
import logging
import subprocess
import sys
from types import FunctionType, ModuleType

import pytest

from qanatix_pipelines.libraries import LibraryChanged
from qanatix_pipelines.sources.driver import (
    is_ours,
    known,
    ours,
    overriding,
    quiet,
    replaced_in_module,
    seeing,
)


@pytest.fixture
def driver():
    module = ModuleType("a_driver")
    module.told = lambda: "theirs"
    module.hashlib = ModuleType("a_hashlib")
    module.hashlib.hashed = "theirs"
    module.hashlib.other = "other"
    return module


def test_a_module_without_the_name_is_not_replaced(driver):
    with pytest.raises(LibraryChanged, match=r"a_hashlib\.scrypt is gone"):
        replaced_in_module(driver, "hashlib", hashed="ours", scrypt="ours")

    assert type(driver.hashlib) is ModuleType


def test_a_module_s_names_are_replaced_in_our_work_and_for_one_importer_only(driver):
    whole = driver.hashlib
    replaced_in_module(driver, "hashlib", hashed="ours")

    with ours():
        inside = driver.hashlib.hashed, driver.hashlib.other, whole.hashed

    assert inside == ("ours", "other", "theirs")
    assert (driver.hashlib.hashed, driver.hashlib.other) == ("theirs", "other")


def test_a_module_that_is_replaced_again_has_the_newest_names_and_the_others(driver):
    replaced_in_module(driver, "hashlib", hashed="old", other="ours")
    replaced_in_module(driver, "hashlib", hashed="new")

    with ours():
        assert (driver.hashlib.hashed, driver.hashlib.other) == ("new", "ours")
    assert (driver.hashlib.hashed, driver.hashlib.other) == ("theirs", "other")


RELOADED = """
import importlib, sys
import asyncpg.connect_utils

def reading():
    return importlib.import_module("qanatix_pipelines.sources.postgresql.reading")

def ours():
    with sys.modules["qanatix_pipelines.sources.driver"].ours():
        return asyncpg.connect_utils.protocol.Protocol

reading()
again = importlib.reload(reading())
print(ours() is again._Protocol)
for name in [name for name in sys.modules if name.startswith("qanatix_pipelines")]:
    del sys.modules[name]
print(reading() is not again and ours() is reading()._Protocol)
print(asyncpg.connect_utils.protocol.Protocol is asyncpg.protocol.Protocol)
"""


@pytest.mark.slow
def test_code_that_is_reloaded_replaces_its_own_replacements():
    done = subprocess.run([sys.executable, "-c", RELOADED], capture_output=True, text=True, check=True)

    assert done.stdout == "True\nTrue\nTrue\n"


def _told():
    return told()  # noqa: F821  # of the driver's module


def _quietly():
    return None


def test_a_copied_function_sees_our_names_and_the_driver_s_own_does_not(driver):
    driver.asked = FunctionType(_told.__code__, vars(driver))

    assert seeing(driver, "asked", told=lambda: "ours")() == "ours"
    assert driver.asked() == "theirs"


def test_a_function_that_uses_another_name_is_not_copied(driver):
    driver.asked = FunctionType(_quietly.__code__, vars(driver))

    with pytest.raises(LibraryChanged, match=r"a_driver\.asked does not use told"):
        seeing(driver, "asked", told=lambda: "ours")


def test_a_method_that_is_gone_is_not_overridden_in_silence():
    with pytest.raises(LibraryChanged, match=r"Connection\.told is gone"):

        @overriding(type("Connection", (), {}), "told")
        class Ours:
            pass


@pytest.mark.parametrize("error", [ImportError, AttributeError])
def test_a_private_name_that_cannot_be_imported_is_told_with_the_supported_version(error):
    supported = r"Supported is pymongo<4\.\d+,>=4\.\d+\.$"

    with pytest.raises(LibraryChanged, match=supported), known("pymongo"):
        raise error("no such name")


async def _records_of(kind, logger):
    """What reaches a handler of what a task of ours and one of somebody else's log at the same time."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger.addHandler(handler)
    ready, go_on = asyncio.Event(), asyncio.Event()

    async def of_ours():
        with ours():
            started = asyncio.create_task(of_a_driver_s())
            ready.set()
            await go_on.wait()
            await kind("ours")
        await started

    async def of_a_driver_s():
        await go_on.wait()
        await kind("ours, from a task of the driver's")

    async def of_another_user():
        await ready.wait()
        await kind("another user's")
        go_on.set()

    try:
        await asyncio.gather(of_ours(), of_another_user())
    finally:
        logger.removeHandler(handler)
    return records


@pytest.mark.parametrize("name", ["a_quiet_driver", "a_quiet_driver.below"])
def test_what_a_driver_logs_in_our_work_is_dropped_and_nothing_else(name):
    logger = logging.getLogger(name)
    quiet("a_quiet_driver")

    async def log(text):
        logger.error(text)

    assert asyncio.run(_records_of(log, logger)) == ["another user's"]


async def _in_a_callback(log, text):
    done = asyncio.Event()

    def logged():
        log(text)
        done.set()

    asyncio.get_running_loop().call_soon(logged)
    await done.wait()


@pytest.mark.parametrize(
    "way", [pytest.param(asyncio.to_thread, id="a thread"), pytest.param(_in_a_callback, id="a callback")]
)
def test_what_a_driver_logs_beside_its_task_is_ours_too(way):
    logger = logging.getLogger("a_quiet_driver")
    quiet("a_quiet_driver")

    async def log(text):
        await way(logger.error, text)

    assert asyncio.run(_records_of(log, logger)) == ["another user's"]


def test_a_driver_is_quieted_once_however_often_it_is_told():
    quiet("a_quiet_driver")
    quiet("a_quiet_driver")

    assert len(logging.getLogger("a_quiet_driver").filters) == 1


def test_our_work_ends_with_its_block_also_by_an_error():
    with pytest.raises(ValueError, match="broken"), ours():
        raise ValueError("broken")

    assert not is_ours()
