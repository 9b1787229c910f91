"""Which files a pull reads: those in the folders that the operator opens. Of all others nothing is told."""

import asyncio
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from qanatix_pipelines.errors import (
    AddressRefused,
    InvalidConnector,
    SettingsError,
    SourceError,
    SourceFailed,
    SourceUnreachable,
)
from qanatix_pipelines.places import Words
from qanatix_pipelines.settings import Settings, read_settings
from qanatix_pipelines.sources import check_config, open_source
from qanatix_pipelines.sources.sqlite import session
from qanatix_pipelines.sources.sqlite.faults import FileRefused, fault
from qanatix_pipelines.sources.sqlite.frames import Unread, Why
from qanatix_pipelines.store.opening import open_store
from qanatix_pipelines.watermarks import Window
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.sources.sqlite.server import execute


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """A folder that is open to pulls, with a database in it."""
    folder = tmp_path / "opened"
    (folder / "below").mkdir(parents=True)
    database(folder / "shop.db", "open")
    return folder


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A folder that is not, with a database that nobody may read."""
    folder = tmp_path / "closed"
    folder.mkdir()
    database(folder / "secret.db", "secret")
    return folder


def database(path: Path, name: str) -> None:
    execute(path, "CREATE TABLE items (id, name)", f"INSERT INTO items VALUES (1, '{name}')")


def read(path: Path | str, *folders: Path) -> list[str]:
    async def rows() -> list[str]:
        source = open_source("sqlite", {"path": str(path)}, folders=folders)
        async with source.read("SELECT name FROM items", window=Window(), batch_size=10) as reading:
            return [name async for batch in reading.batches for name in batch.frame["name"]]

    return asyncio.run(rows())


def refused(path: Path | str, *folders: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(path, *folders)
    return caught.value


def test_only_a_source_of_files_is_told_which_folders_are_open(tmp_path: Path) -> None:
    of_files = open_source("sqlite", {"path": str(tmp_path / "a.db")}, folders=(tmp_path,))
    other = open_source("postgresql", {"dsn": "postgresql://reader:secret@db/shop"}, folders=(tmp_path,))

    assert (getattr(of_files, "folders", None), getattr(other, "folders", None)) == ((tmp_path,), None)


def test_a_file_in_a_folder_that_is_open_is_read(opened: Path) -> None:
    assert read(opened / "shop.db", opened) == ['"open"']


def test_a_file_below_such_a_folder_is_read(opened: Path) -> None:
    database(opened / "below" / "a # b?mode=rwc.db", "below")

    assert read(opened / "below" / "a # b?mode=rwc.db", opened) == ['"below"']


def test_the_folder_itself_may_be_reached_by_a_link(opened: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(opened)

    assert read(tmp_path / "link" / "shop.db", tmp_path / "link") == ['"open"']


def test_without_folders_none_is_read_and_the_operators_part_is_told(opened: Path) -> None:
    error = refused(opened / "shop.db")

    assert isinstance(error, FileRefused)
    assert error.code == AddressRefused.code
    assert "The operator opens folders with QANATIX_SQLITE_FOLDERS" in str(error)


@pytest.mark.parametrize("name", ["secret.db", "nothing.db", "", "x/y.db"])
def test_of_a_file_elsewhere_nothing_is_told(opened: Path, closed: Path, name: str) -> None:
    assert str(refused(closed / name, opened)) == str(refused(opened / "shop.db"))


def test_a_name_that_only_begins_like_a_folders_is_elsewhere(opened: Path, tmp_path: Path) -> None:
    (tmp_path / "opened2").mkdir()
    database(tmp_path / "opened2" / "secret.db", "secret")

    assert isinstance(refused(tmp_path / "opened2" / "secret.db", opened), FileRefused)


@pytest.mark.parametrize("target", ["secret.db", "nothing.db"])
def test_a_link_is_not_followed_and_does_not_tell_whether_it_leads_somewhere(
    opened: Path, closed: Path, target: str
) -> None:
    (opened / "link.db").symlink_to(closed / target)

    error = refused(opened / "link.db", opened)

    assert isinstance(error, FileRefused)
    assert "is a link" in str(error)


@pytest.mark.parametrize("name", ["secret.db", "nothing.db"])
def test_a_folder_that_is_a_link_is_not_followed(opened: Path, closed: Path, name: str) -> None:
    (opened / "link").symlink_to(closed)

    assert "is a link" in str(refused(opened / "link" / name, opened))


def test_a_file_with_two_names_is_refused(opened: Path, closed: Path) -> None:
    os.link(closed / "secret.db", opened / "hard.db")

    assert "more than one name" in str(refused(opened / "hard.db", opened))


def test_a_pipe_is_refused_and_not_waited_for(opened: Path) -> None:
    os.mkfifo(opened / "pipe.db")

    assert "is no plain file" in str(refused(opened / "pipe.db", opened))


def test_a_socket_is_refused(opened: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(opened / "s.db"))

        assert "is no plain file" in str(refused(opened / "s.db", opened))


def test_a_folder_is_refused(opened: Path) -> None:
    assert "is no plain file" in str(refused(opened / "below", opened))


def test_a_device_is_refused() -> None:
    assert "is no plain file" in str(refused("/dev/zero", Path("/dev")))


def test_a_file_that_is_not_there_is_told_in_a_folder_that_is_open(opened: Path) -> None:
    error = refused(opened / "nothing.db", opened)

    assert isinstance(error, SourceUnreachable)
    assert not error.transient
    assert list(opened.glob("nothing*")) == []


def swapping(monkeypatch: pytest.MonkeyPatch, swap: Callable[[], None], back: Callable[[], None]) -> None:
    """Between the check of a path and SQLite's opening of it, `swap` happens; `back` once it is open."""
    connect = sqlite3.connect

    class Swapped(sqlite3.Connection):
        def execute(self, *args: object) -> sqlite3.Cursor:
            cursor = super().execute(*args)  # type: ignore[arg-type]
            if args == ("PRAGMA schema_version",):
                back()
            return cursor

    def swapped(address: str, **options: object) -> sqlite3.Connection:
        swap()
        return connect(address, factory=Swapped, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(session.sqlite3, "connect", swapped)  # type: ignore[attr-defined]


def unread(path: Path, folder: Path) -> Why:
    """Why the file is not opened, in this process: no child could be made to meet the moment."""
    with pytest.raises(Unread) as caught:
        session.Session().open(str(path), [folder])
    return caught.value.why


def test_a_file_that_is_swapped_for_another_while_it_is_opened_is_not_read(
    opened: Path, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapping(
        monkeypatch,
        lambda: (closed / "secret.db").rename(opened / "shop.db") and None,
        lambda: None,
    )

    assert unread(opened / "shop.db", opened) is Why.CHANGED


def test_a_file_that_was_changed_may_be_tried_again() -> None:
    error = fault({"why": "changed"}, lambda: Words("", ()))

    assert isinstance(error, SourceFailed)
    assert "changed or replaced while it was read" in str(error)
    assert error.transient


def test_a_folder_that_is_swapped_for_a_link_and_back_while_it_is_opened_is_not_read(
    opened: Path, closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database(opened / "below" / "secret.db", "open")

    def swap() -> None:
        (opened / "below").rename(opened / "away")
        (opened / "below").symlink_to(closed)

    def back() -> None:
        (opened / "below").unlink()
        (opened / "away").rename(opened / "below")

    swapping(monkeypatch, swap, back)

    assert unread(opened / "below" / "secret.db", opened) is Why.CHANGED


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_a_right_to_it_is_told_as_such(opened: Path) -> None:
    (opened / "shop.db").chmod(0)

    assert "no right" in str(refused(opened / "shop.db", opened))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("shop.db", "must be an absolute path"),
        ("file:/srv/shop.db?mode=rwc", "not a URI"),
        (":memory:", "must be an absolute path"),
        ("", "must not be empty"),
        ("/", "without . or .."),
        ("/srv/../etc/shop.db", "without . or .."),
        ("/srv/./shop.db", "without . or .."),
        ("//srv/shop.db", "without . or .."),
        ("/srv/shop.db/", "without . or .."),
        ("/srv/shop.db-wal", "must name the database itself"),
        ("/srv/shop.db-journal", "must name the database itself"),
        ("/srv/shop\x00.db", "control characters"),
        ("/srv/\udcff.db", "must be a valid string"),
    ],
)
def test_a_path_that_can_be_none_is_refused_when_it_is_registered(path: str, expected: str) -> None:
    with pytest.raises(InvalidConnector, match=expected) as caught:
        check_config("sqlite", {"path": path})

    assert caught.value.field == ("connection_config", "path")


def test_it_is_shown_and_is_not_looked_for_when_it_is_registered() -> None:
    """The API may run on another machine than pulls."""
    assert check_config("sqlite", {"path": "/nowhere/shop.db"}).connection == {"path": "/nowhere/shop.db"}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        ("srv", "entry 1 of 1 is no absolute path"),
        ("/srv, /", "entry 2 of 2 is no absolute path"),
        ("/srv/../etc", "entry 1 of 1 is no absolute path"),
        ("{data}", "holds QANATIX_DATA_DIR or lies in it"),
        ("{data}/below", "holds QANATIX_DATA_DIR or lies in it"),
        ("{parent}", "holds QANATIX_DATA_DIR or lies in it"),
    ],
)
def test_folders_that_must_not_be_opened_are_refused_by_their_place(
    tmp_path: Path, folders: str, expected: str
) -> None:
    text = folders.format(data=tmp_path, parent=tmp_path.parent)

    with pytest.raises(SettingsError, match=expected):
        read_settings({"data_dir": tmp_path, "sqlite_folders": text})


def test_the_folders_are_a_list(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, sqlite_folders="/srv/a, /srv/b,")

    assert settings.file_folders() == (Path("/srv/a"), Path("/srv/b"))


def test_nothing_is_open_by_default(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).file_folders() == ()


class TestWhatIsNoDatabase:
    @pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\x00", os.urandom(20_000)])
    def test_it_is_told(self, opened: Path, content: bytes) -> None:
        (opened / "odd.db").write_bytes(content)

        assert isinstance(refused(opened / "odd.db", opened), SourceError)

    def test_a_damaged_page_ends_the_pull(self, opened: Path) -> None:
        path = opened / "damaged.db"
        execute(path, "CREATE TABLE items (id, name)")
        execute(
            path,
            "INSERT INTO items WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
            "SELECT i, 'Item ' || i FROM n",
        )
        with path.open("r+b") as file:
            file.seek(4096 * 3)
            file.write(os.urandom(4096 * 10))

        assert "damaged" in str(refused(path, opened))

    def test_a_schema_that_is_no_sql_is_told(self, opened: Path) -> None:
        with closing(sqlite3.connect(opened / "odd.db", isolation_level=None)) as connection:
            connection.execute("CREATE TABLE items (id, name)")
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE items (id, name'")

        assert isinstance(refused(opened / "odd.db", opened), SourceFailed)

    @pytest.mark.slow
    def test_ten_thousand_tables_are_read(self, opened: Path) -> None:
        with closing(sqlite3.connect(opened / "huge.db", isolation_level=None)) as connection:
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE items (id, name)")
            for number in range(10_000):
                connection.execute(f"CREATE TABLE t{number} (a, b, c, d)")
            connection.execute("COMMIT")

        assert read(opened / "huge.db", opened) == []


def test_a_copy_without_its_log_is_read_as_it_stands(opened: Path) -> None:
    shutil.copy(opened / "shop.db", opened / "copy.db")

    assert read(opened / "copy.db", opened) == ['"open"']


def test_a_log_that_is_a_link_is_not_followed(opened: Path, closed: Path) -> None:
    execute(opened / "shop.db", "PRAGMA journal_mode = wal")
    (opened / "shop.db-wal").symlink_to(closed / "secret.db")

    assert "is a link" in str(refused(opened / "shop.db", opened))


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_sqlite_keeps_beside_a_file_is_judged_as_the_file_is(opened: Path, closed: Path, suffix: str) -> None:
    """The rows of a database in another folder may stand in its log alone."""
    os.link(closed / "secret.db", opened / f"shop.db{suffix}")

    assert "hard link" in str(refused(opened / "shop.db", opened))


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_pipe_beside_a_file_is_refused_and_not_waited_for(opened: Path, suffix: str) -> None:
    os.mkfifo(opened / f"shop.db{suffix}")

    assert "no plain file" in str(refused(opened / "shop.db", opened))


def test_a_store_of_ours_is_not_read_though_its_folder_is_open(opened: Path) -> None:
    address = f"sqlite:///{opened}/store.db"
    open_store(Settings(store_url=address, encryption_key=ENCRYPTION_KEY, pepper=PEPPER)).engine.dispose()

    assert "is a store of QANATIX itself" in str(refused(opened / "store.db", opened))
