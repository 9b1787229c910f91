"""psql, PostgreSQL's own client: what it prints for queries."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What stands between values and rows, what is printed for null, and what begins an answer's last line.
_VALUE, _ROW, _NULL, _END = "\x1f", "\x1e", "\x1d", "\x1c"


class PsqlMissing(Exception):
    """The system has no psql."""


@dataclass(frozen=True)
class Answer:
    """`rows` as they are printed, null as None; `state` is the SQLSTATE, "00000" where the query was no error."""

    state: str
    rows: list[tuple[str | None, ...]]


def printed(dsn: str, queries: Sequence[str], settings: Mapping[str, str]) -> list[Answer]:
    """What psql prints for each query, all in one session, in which `settings` are set before. Raises PsqlMissing."""
    script = "".join(f"{query}\n;\n\\echo {_END}:SQLSTATE\n" for query in queries)
    done = subprocess.run(
        [_program(), "-XqAt", "-F", _VALUE, "-R", _ROW, "-P", f"null={_NULL}", "-f", "-", dsn],
        input=script,
        env={
            **os.environ,
            "PGCLIENTENCODING": "UTF8",
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
        capture_output=True,
        check=False,
        encoding="utf-8",
    )
    texts = done.stdout.split(_END)
    states = [text.partition("\n")[0] for text in texts[1:]]
    assert len(states) == len(queries), done.stderr
    bodies = [texts[0], *(text.partition("\n")[2] for text in texts[1:-1])]
    return [Answer(state, _rows(body)) for state, body in zip(states, bodies, strict=True)]


def _rows(body: str) -> list[tuple[str | None, ...]]:
    if not body:
        return []
    rows = body.removesuffix("\n").split(_ROW)
    return [tuple(None if value == _NULL else value for value in row.split(_VALUE)) for row in rows]


def _program() -> str:
    program = shutil.which("psql") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/psql")), None)
    if program is None:
        raise PsqlMissing("the system has no psql (Debian: postgresql-client)")
    return program
