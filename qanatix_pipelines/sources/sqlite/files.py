"""Which files a pull may read: those in the folders that the operator opens, and no others.

A path is judged as it is opened, one name after another from the folder on, and no link is followed. Of what lies
outside of the folders nothing is told, not even whether it is there. The file itself is never opened here: to close it
again would take away SQLite's locks on it (fcntl(2), "Advisory record locking").
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from qanatix_pipelines.sources.sqlite.frames import Unread, Why

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class File(NamedTuple):
    """A plain file in a folder that is open. `path` has no link in it."""

    path: str
    folder: int
    name: str

    def status(self) -> os.stat_result:
        """Raises Unread."""
        with _told():
            return self._plain(self.name)

    def beside(self) -> dict[str, os.stat_result]:
        """What SQLite keeps beside it, by its suffix. It is judged as the file is, for rows stand there, too.

        Raises Unread.
        """
        there = {}
        for suffix in ("-wal", "-shm", "-journal"):
            try:
                there[suffix] = self._plain(self.name + suffix)
            except FileNotFoundError:
                continue
            except OSError:
                raise Unread(Why.FORBIDDEN) from None
        return there

    def _plain(self, name: str) -> os.stat_result:
        status = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            raise Unread(Why.LINK)
        if not stat.S_ISREG(status.st_mode):
            raise Unread(Why.KIND)
        if status.st_nlink > 1:
            raise Unread(Why.NAMES)
        return status


@contextmanager
def found(path: str, folders: Sequence[Path]) -> Iterator[File]:
    """Raises Unread."""
    asked = PurePosixPath(path)
    top = next((folder for folder in folders if folder in Path(path).parents), None)
    if top is None:
        raise Unread(Why.NOT_OPEN)
    *through, name = asked.relative_to(top).parts
    with _told():
        folder = os.open(top, _FOLDER)
    try:
        for part in through:
            with _told():
                if stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise Unread(Why.LINK)
                below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        yield File(os.path.join(os.path.realpath(top), *through, name), folder, name)  # noqa: PTH118  # as the system joins
    finally:
        os.close(folder)


def identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def opened_here() -> dict[int, tuple[int, int]]:
    """The plain files that this process has open, by their descriptors."""
    descriptors = {}
    for descriptor in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        try:
            status = os.fstat(descriptor)
        except OSError:  # that of the listing itself, which is closed by now
            continue
        if stat.S_ISREG(status.st_mode):
            descriptors[descriptor] = identity(status)
    return descriptors


@contextmanager
def _told() -> Iterator[None]:
    """What the system says of a file becomes Unread."""
    try:
        yield
    except PermissionError:
        raise Unread(Why.FORBIDDEN) from None
    except OSError:
        raise Unread(Why.GONE) from None
