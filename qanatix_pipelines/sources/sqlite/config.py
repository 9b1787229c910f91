"""A sqlite connector's config: the path of a file, on the machine where pulls run."""

import os.path
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from qanatix_pipelines.sources.addresses import check_characters
from qanatix_pipelines.sources.source import SourceConfig

# What SQLite itself writes beside a database.
_SIDE_FILES = ("-journal", "-shm", "-wal")


def _path(text: str) -> str:
    check_characters(text)
    if text.startswith("file:"):
        raise ValueError("must be a file's path, not a URI: leave out file: and what stands after a question mark")
    if not text.startswith("/"):
        raise ValueError("must be an absolute path, such as /srv/shop/orders.db, on the machine where pulls run")
    if os.path.normpath(text) != text or text.startswith("//") or text == "/":
        raise ValueError("must be a file's path without . or .. or // in it, and without a slash at its end")
    if text.endswith(_SIDE_FILES):
        raise ValueError("must name the database itself, not what SQLite writes beside it")
    return text


class Config(SourceConfig):
    """connection_config of a sqlite connector. Where files may be read is for the operator to say."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_path)]

    def identity(self) -> tuple[object, ...]:
        return (self.path,)

    def connection(self) -> dict[str, str | int]:
        return {"path": self.path}
