"""Secrets that are told apart from everything else, every form in which one may be written, and the search for them."""

import base64
import gzip
import html
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg

SQLITE = b"SQLite format 3\x00"


def forms(secret: str) -> dict[str, bytes]:
    """Each way in which `secret` may stand among other bytes, by name."""
    raw = secret.encode()
    escaped = json.dumps(secret)[1:-1]
    texts = {
        "raw": secret,
        "in a URL": quote(secret, safe=""),
        "in a URL, small letters": _small(quote(secret, safe="")),
        "in a URL in a URL": quote(quote(secret, safe=""), safe=""),
        "in a form": quote_plus(secret),
        "in JSON": escaped,
        "in JSON in JSON": json.dumps(escaped)[1:-1],
        "as Python shows it": repr(secret)[1:-1],
        "in HTML": html.escape(secret),
    }
    found = {name: text.encode() for name, text in texts.items()}
    found |= {
        "in UTF-16": secret.encode("utf-16-le"),
        "in UTF-16, big end first": secret.encode("utf-16-be"),
        "in hex": raw.hex().encode(),
        "in HEX": raw.hex().upper().encode(),
    }
    for before in range(3):
        # What the bytes around it decide is cut off: an alignment's inner digits are its own.
        digits = slice(-(-before * 8 // 6), (before + len(raw)) * 8 // 6)
        found[f"in base64, after {before}"] = base64.b64encode(bytes(before) + raw)[digits]
        found[f"in base64 for URLs, after {before}"] = base64.urlsafe_b64encode(bytes(before) + raw)[digits]
    return found


@dataclass(frozen=True)
class Hit:
    place: str
    canary: str
    form: str


@dataclass
class Search:
    """Looks for `canaries`, by name, and counts the bytes it has looked at."""

    canaries: dict[str, str]
    looked_at: int = 0
    _patterns: list[tuple[bytes, str, str]] = field(init=False)

    def __post_init__(self) -> None:
        patterns = {
            pattern: (name, form) for name, secret in self.canaries.items() for form, pattern in forms(secret).items()
        }
        self._patterns = [(pattern, name, form) for pattern, (name, form) in patterns.items()]

    def among(self, content: bytes, place: str) -> list[Hit]:
        self.looked_at += len(content)
        return [Hit(place, name, form) for pattern, name, form in self._patterns if pattern in content]

    def each(self, named: Iterable[tuple[str, bytes]]) -> list[Hit]:
        """Many contents, by the names of their places: all at once, and one by one only where there is something."""
        contents = list(named)
        if not self.among(b"\xff".join(content for _, content in contents), ""):
            return []
        return [hit for place, content in contents for hit in self.among(content, place)]

    def files(self, folder: Path) -> list[Hit]:
        """All files below `folder`, byte by byte; of SQLite's each value too, for a file may hold one in two parts."""
        hits: list[Hit] = []
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                content = file.read_bytes()
                hits += self.each(_unpacked([(str(file), content)]))
                if content.startswith(SQLITE):
                    hits += self.values(_sqlite_values(file), str(file))
        return hits

    def postgresql(self, address: str, place: str) -> list[Hit]:
        """Each value of each table: its files may hold one packed."""
        return self.values(_postgresql_values(address), place)

    def values(self, values: Iterable[tuple[str, object]], place: str) -> list[Hit]:
        contents = (
            (f"{place}, {column}", value.encode() if isinstance(value, str) else value)
            for column, value in values
            if isinstance(value, str | bytes)
        )
        return self.each(_unpacked(contents))


def _unpacked(named: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Each content, and what it is when it is unpacked."""
    for place, content in named:
        yield place, content
        for unpack in (zlib.decompress, gzip.decompress):
            with suppress(zlib.error, gzip.BadGzipFile, EOFError):
                yield f"{place}, unpacked", unpack(content)


def _small(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _sqlite_values(file: Path) -> Iterator[tuple[str, object]]:
    with closing(sqlite3.connect(file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"')
            names = [f"{table}.{column[0]}" for column in rows.description]
            for row in rows:
                yield from zip(names, row, strict=True)


def _postgresql_values(address: str) -> Iterator[tuple[str, object]]:
    with psycopg.connect(address) as connection:
        tables = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' "
            "AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute(f"SELECT row_to_json(t)::text FROM {table} AS t".encode()):
                yield table, row[0]
