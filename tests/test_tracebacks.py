"""What a log tells of an exception that nobody has caught."""

import asyncio
import logging
from pathlib import Path

import httpx2
import pytest

from qanatix_api import logs
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.tracebacks import outline, places
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.served import served

SECRET = "hunter2"


def fails(password: str) -> None:
    try:
        int(password)
    except ValueError:
        raise RuntimeError(f"no {password}")  # noqa: B904  # what it followed from is shown, too


def caught() -> RuntimeError:
    with pytest.raises(RuntimeError) as error:
        fails(SECRET)
    return error.value


def test_an_outline_has_types_and_places_and_neither_texts_nor_arguments() -> None:
    first, then, second = outline(caught()).partition("\nand then\n")

    assert (first.splitlines()[0], then, second.splitlines()[0]) == ("ValueError", "\nand then\n", "RuntimeError")
    assert first.splitlines()[-1].startswith(f"  {__file__}:")
    assert second.splitlines()[-1].endswith(" in fails")
    assert SECRET not in first + second


def test_what_was_set_aside_is_left_out() -> None:
    error = caught()
    error.__suppress_context__ = True

    assert outline(error).splitlines()[0] == "RuntimeError"


def test_places_go_from_the_outermost_call_to_where_it_was_raised() -> None:
    assert [place.rpartition(" ")[2] for place in places(caught())] == ["caught", "fails"]


def test_a_fault_of_the_api_is_logged_without_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qanatix_pipelines.store.opening.Store.ping", lambda _: fails(SECRET))
    settings = Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)

    with served(settings) as api:
        assert httpx2.get(f"{api.url}/healthz").status_code == 500

    written = capfd.readouterr().err
    assert "RuntimeError\n" in written
    assert " in fails\n" in written
    assert SECRET not in written


def test_a_fault_of_a_task_that_nobody_awaits_is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    logs.install()

    async def forgotten() -> None:
        task = asyncio.create_task(asyncio.to_thread(fails, SECRET))
        await asyncio.wait([task])

    asyncio.run(forgotten())

    (record,) = (record for record in caplog.records if record.name == "asyncio")
    assert "never retrieved" in record.message
    assert SECRET not in logging.Formatter().format(record)
