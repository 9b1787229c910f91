"""The tools that are measured beside ours, each in an environment of its own, and the commands that start them.

Each is set up as its documentation advises for this job. Not measured: Airbyte, whose database sources are containers
only; ingestr from MariaDB, because it makes a type for `longtext` that PostgreSQL does not have; and ingestr from
MongoDB, because it asks for the server's databases, a command that the test server does not have.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg

from benchmarks.sources import MariaDB, MongoDB, Neo4j, PostgreSQL, Source

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parent / ".environments"
LEAF = "qanatix.entity_1"
SORTED = "peer.sorted_entities"
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Place:
    """Where one contestant reads and writes: `target` is a database of its own, `folder` holds its files."""

    source: Source
    target: str
    folder: Path


@dataclass(frozen=True)
class Order:
    """A command, its standard input, and the variables that are added to its environment."""

    command: list[str | Path]
    given: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """`packages` are installed in an environment of its own; with none it runs in ours. If `program` is given, they are
    its newest release, and `instead` is an older one, which is measured if the newest does not start here.

    `counted` returns how many rows it has written, and the sum of their ids. None if it writes nothing.
    """

    name: str
    order: Callable[[Place, Path], Order]
    settings: str = ""
    packages: tuple[str, ...] = ()
    counted: Callable[[Place], tuple[int, int]] | None = None
    program: str | None = None
    instead: tuple[str, ...] = ()

    def bin(self) -> Path:
        """The folder of its programs, which are installed on the first call."""
        if not self.packages:
            return Path(sys.executable).parent
        if self.program is None:
            return _installed(self.name, self.packages)
        programs = _installed(f"{self.name} newest", self.packages)
        return programs if _starts(programs / self.program) else _installed(self.name, self.instead)


@cache
def _installed(name: str, packages: tuple[str, ...]) -> Path:
    environment = ENVIRONMENTS / name.replace(" ", "-")
    if not (environment / "ready").exists():
        subprocess.run([UV, "venv", "-q", "--clear", environment, "--python", sys.executable], check=True)
        python = environment / "bin" / "python"
        subprocess.run([UV, "pip", "install", "-q", "--compile-bytecode", "--python", python, *packages], check=True)
        (environment / "ready").touch()
    return environment / "bin"


@cache
def _starts(program: Path) -> bool:
    """Whether a program starts. If not, tell which version that is, and why: some fetch a binary when they start."""
    tried = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    if tried.returncode:
        show = [UV, "pip", "show", "--python", program.parent / "python", program.name]
        shown = subprocess.run(show, check=True, capture_output=True, text=True).stdout
        version = next(line.split()[1] for line in shown.splitlines() if line.startswith("Version:"))
        print(f"  {program.name} {version}, the newest, is not measured: {tried.stderr.strip().splitlines()[-1]}")
    return tried.returncode == 0


def _ours(name: str, store: Callable[[Place], str], counted: Callable[[Place], tuple[int, int]]) -> Contestant:
    def order(place: Place, programs: Path) -> Order:
        given = {
            "store": store(place),
            "folder": str(place.folder),
            "name": "Items",
            "connector_type": place.source.connector_type,
            "connection_config": place.source.config,
            "query": place.source.query,
            "vertical": "bench",
            "entity_type": "item",
            "batch_size": 5000,
        }
        return Order([programs / "python", "-m", "benchmarks.ours"], json.dumps(given))

    return Contestant(name, order, "batch_size 5000", counted=counted)


def _sqlite(place: Place) -> Path:
    return place.folder / "store.db"


def _counted_in_sqlite(place: Place) -> tuple[int, int]:
    with closing(sqlite3.connect(_sqlite(place))) as connection:
        counted: tuple[int, int] = connection.execute(
            "SELECT count(*), sum(CAST(source_id AS integer)) FROM entity"
        ).fetchone()
        return counted


def _counted(query: str) -> Callable[[Place], tuple[int, int]]:
    def count(place: Place) -> tuple[int, int]:
        with psycopg.connect(place.target) as connection:
            ((rows, ids),) = connection.execute(query.encode())
        return rows, int(ids)

    return count


def _script(file: str, *arguments: str) -> Callable[[Place, Path], Order]:
    def order(place: Place, programs: Path) -> Order:
        given = {"source": place.source.address, "target": place.target, "folder": str(place.folder)}
        return Order([programs / "python", PEERS / file, *(argument.format(**given) for argument in arguments)])

    return order


@cache
def copies_of(entities: str) -> tuple[Contestant, ...]:
    """COPY from the database `entities`, a store of ours: once in the order of the source, once sorted by ids.

    Sorted rows are faster to index. The time for sorting them is not measured.
    """
    return tuple(
        Contestant(
            f"COPY to COPY, {order}",
            _script("copy_copy.py", entities, table, "{target}"),
            "into a table with entity's indexes",
            counted=_ENTITIES_COUNTED,
        )
        for order, table in (("in the source's order", LEAF), ("sorted", SORTED))
    )


def _dlt(backend: str) -> Contestant:
    def order(place: Place, programs: Path) -> Order:
        source = place.source.address.replace("mysql://", "mysql+pymysql://")
        return Order([programs / "python", PEERS / "dlt_merge.py", source, place.target, place.folder, backend])

    settings = "chunks of 50,000, merge by upsert" if backend == "pyarrow" else "merge by upsert"
    return Contestant(f"dlt {backend}", order, f"backend {backend}, {settings}", _DLT, _PEER_COUNTED)


def _ingestr() -> Contestant:
    def order(place: Place, programs: Path) -> Order:
        command: list[str | Path] = [
            programs / "ingestr",
            "ingest",
            "--yes",
            f"--source-uri={place.source.address}",
            "--source-table=public.items",
            f"--dest-uri={place.target}",
            "--dest-table=peer.items",
            "--incremental-strategy=merge",
            "--primary-key=id",
            f"--pipelines-dir={place.folder}",
        ]
        return Order(command, environment={"DISABLE_TELEMETRY": "true"})

    return Contestant(
        "ingestr", order, "merge on the key", ("ingestr",), _PEER_COUNTED, "ingestr", ("ingestr==0.15.9",)
    )


def _sling(stream: str, options: str) -> Contestant:
    def order(place: Place, programs: Path) -> Order:
        return Order(
            [
                programs / "sling",
                "run",
                *("--src-conn", "SOURCE", "--src-stream", stream),
                *("--tgt-conn", "TARGET", "--tgt-object", "peer.items"),
                *("--mode", "incremental", "--primary-key", "id"),
            ],
            environment={
                "SOURCE": place.source.address + options,
                "TARGET": place.target + "?sslmode=disable",
                "SLING_HOME_DIR": str(place.folder),
                "SLING_DISABLE_TELEMETRY": "true",
            },
        )

    return Contestant("sling", order, "incremental by the key", ("sling",), _PEER_COUNTED, "sling", ("sling==1.3.5",))


_ENTITIES_COUNTED = _counted("SELECT count(*), sum(source_id::bigint) FROM qanatix.entity")
_PEER_COUNTED = _counted("SELECT count(*), sum(id) FROM peer.items")
_DLT = (
    "dlt[postgres,sql_database,parquet]==1.31.0",
    "sqlalchemy<2.1",
    "psycopg2-binary",
    "pymysql==1.1.2",
    "pyarrow==21.0.0",
    "connectorx==0.4.6",
    "adbc-driver-postgresql==1.13.0",
)
_CONNECTORX = ("connectorx==0.4.6", "pyarrow==21.0.0")
_ADBC = ("adbc-driver-postgresql==1.13.0", "pyarrow==21.0.0")

OURS = _ours("ours", lambda place: place.target, _ENTITIES_COUNTED)
INTO_SQLITE = _ours("ours, into SQLite", lambda place: f"sqlite:///{_sqlite(place)}", _counted_in_sqlite)
# Tools that merge into PostgreSQL, as we do.
PEERS_OF: dict[type[Source], tuple[Contestant, ...]] = {
    PostgreSQL: (
        _dlt("pyarrow"),
        _dlt("connectorx"),
        _ingestr(),
        _sling("public.items", "?sslmode=disable"),
    ),
    MariaDB: (_dlt("pyarrow"), _sling("qanatix.items", "")),
    MongoDB: (),
    Neo4j: (),
}
# Programs that only read.
READERS_OF: dict[type[Source], tuple[Contestant, ...]] = {
    PostgreSQL: (
        Contestant("asyncpg, read only", _script("asyncpg_read.py", "{source}"), "cursor of 5,000"),
        Contestant("connectorx, read only", _script("connectorx_read.py", "{source}"), "Arrow", _CONNECTORX),
        Contestant("ADBC, read only", _script("adbc_read.py", "{source}"), "Arrow batches", _ADBC),
    ),
    MariaDB: (Contestant("asyncmy, read only", _script("asyncmy_read.py", "{source}"), "unbuffered, 5,000"),),
    MongoDB: (Contestant("pymongo, read only", _script("pymongo_read.py", "{source}"), "batches of 5,000"),),
    Neo4j: (Contestant("neo4j, read only", _script("neo4j_read.py", "{source}", Neo4j.query), "fetch_size 5,000"),),
}
