"""What an operator hears of the store: which it is, and what is wrong with its address; never a password."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from qanatix_api.app import create_app
from qanatix_pipelines.errors import SettingsError, StoreUnavailable
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.engine import connect, named
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.servers import Server, free_port

PASSWORD = "hunter2"


def wrong(server: Server, part: str) -> str:
    parts = urlsplit(server.address)
    port = free_port() if part == "port" else parts.port
    user = "nobody" if part == "user" else parts.username
    password = PASSWORD if part == "password" else parts.password
    host = "nowhere.invalid" if part == "host" else parts.hostname
    database = "hunter2s" if part == "database" else "postgres"
    return f"postgresql://{user}:{password}@{host}:{port}/{database}"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("host", "names a host that is not known."),
        ("port", "names a host on which no PostgreSQL answers at that port."),
        ("user", "has a user or a password that the server refuses."),
        ("password", "has a user or a password that the server refuses."),
        ("database", "names a database that the server does not have."),
    ],
)
def test_it_is_said_what_is_wrong_with_an_address(postgresql_server: Server, part: str, reason: str) -> None:
    with pytest.raises(StoreUnavailable) as unavailable, connect(wrong(postgresql_server, part)).connect():
        pass

    assert unavailable.value.reason == f"QANATIX_STORE_URL {reason}"
    assert str(unavailable.value) == StoreUnavailable.sentence  # what a caller of the API is told


def test_it_is_said_that_a_file_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()

    with pytest.raises(StoreUnavailable) as unavailable, connect(f"sqlite:///{tmp_path}/folder.db").connect():
        pass

    assert unavailable.value.reason == "QANATIX_STORE_URL names a file that cannot be opened."


def test_it_is_said_that_a_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Not a database. " * 100)

    with pytest.raises(StoreUnavailable) as unavailable, connect(f"sqlite:///{tmp_path}/notes.txt").connect():
        pass

    assert unavailable.value.reason == "QANATIX_STORE_URL names a file that is no database of SQLite's."


def test_no_folder_is_made_for_a_store(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^QANATIX_STORE_URL names a file in a folder that is not there\.$"):
        connect(f"sqlite:///{tmp_path}/nowhere/store.db")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("postgresql://user:1/hunter2?@db.internal/shop", "PostgreSQL at db.internal:5432, database shop"),
        ("postgresql://user@db.internal:6432/shop?password=hunter2", "PostgreSQL at db.internal:6432, database shop"),
        ("postgresql:///shop?host=/run/postgresql", "PostgreSQL at /run/postgresql:5432, database shop"),
    ],
)
def test_a_store_is_named_without_its_password(address: str, name: str) -> None:
    assert named(connect(address)) == name


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("QANATIX_STORE_URL", None, "QANATIX_STORE_URL has a user or a password that the server refuses."),
        ("QANATIX_ALLOW_NETWORKS", "10.20.0.0/16, 10.30.0.1/16", "QANATIX_ALLOW_NETWORKS is wrong: entry 2 of 2"),
    ],
)
def test_neither_the_api_nor_the_command_line_starts_with_more_than_a_line_about_what_is_wrong(
    postgresql_server: Server, tmp_path: Path, variable: str, value: str | None, said: str
) -> None:
    given = {"QANATIX_DATA_DIR": str(tmp_path), "CONNECTOR_ENCRYPTION_KEY": ENCRYPTION_KEY}
    given[variable] = value or wrong(postgresql_server, "password")
    programs = Path(sys.executable).parent
    served = [programs / "uvicorn", "--factory", "qanatix_api.app:create_app", "--port", str(free_port())]

    for command, begins in (([programs / "qanatix", "migrate"], "Error: "), (served, "The API does not start. ")):
        ended = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, check=False)

        (line,) = ended.stderr.splitlines()
        assert (ended.returncode, line[: len(begins + said)]) == (1, begins + said)


def test_the_api_says_at_its_start_which_store_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)
    migrations.upgrade(connect(settings.store_address()))

    create_app(settings)

    assert f"Store: SQLite in {tmp_path}/qanatix.db." in caplog.messages
