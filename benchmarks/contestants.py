"""Who is measured beside us, each in an environment of its own, and how they are told what to do.

Set as their documentation advises for this job. Not among them: Airbyte, whose PostgreSQL source is a container only.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parent / ".environments"
UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Place:
    """Where one contestant reads and writes. `target` is a database of its own, `folder` what it keeps beside that."""

    source: str
    target: str
    folder: Path


@dataclass(frozen=True)
class Order:
    """A command, what is on its standard input, and what is added to its environment."""

    command: list[str | Path]
    given: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """`packages` go to an environment of its own; with none it is run in ours.

    `counted` is SQL for (rows, sum of their ids) in its target; empty where it keeps nothing.
    """

    name: str
    order: Callable[[Place, Path], Order]
    settings: str = ""
    packages: tuple[str, ...] = ()
    counted: str = ""

    def bin(self) -> Path:
        """Where its programs are, installed when they are first asked for."""
        if not self.packages:
            return Path(sys.executable).parent
        environment = ENVIRONMENTS / self.name.replace(" ", "-")
        if not (environment / "ready").exists():
            subprocess.run([UV, "venv", "-q", "--clear", environment, "--python", sys.executable], check=True)
            python = environment / "bin" / "python"
            subprocess.run(
                [UV, "pip", "install", "-q", "--compile-bytecode", "--python", python, *self.packages], check=True
            )
            (environment / "ready").touch()
        return environment / "bin"


def ours(name: str, store: Callable[[Place], str | None], counted: str) -> Contestant:
    def order(place: Place, programs: Path) -> Order:
        given = {
            "store": store(place),
            "folder": str(place.folder),
            "name": "Items",
            "connector_type": "postgresql",
            "connection_config": {"dsn": place.source},
            "query": "SELECT * FROM items",
            "vertical": "bench",
            "entity_type": "item",
            "batch_size": 5000,
        }
        return Order([programs / "python", "-m", "benchmarks.ours"], json.dumps(given))

    return Contestant(name, order, "batch_size 5000", counted=counted)


def _script(file: str, *arguments: str) -> Callable[[Place, Path], Order]:
    def order(place: Place, programs: Path) -> Order:
        given = {"source": place.source, "target": place.target, "folder": str(place.folder)}
        return Order([programs / "python", PEERS / file, *(argument.format(**given) for argument in arguments)])

    return order


def _ingestr(place: Place, programs: Path) -> Order:
    return Order(
        [
            programs / "ingestr",
            "ingest",
            "--yes",
            f"--source-uri={place.source}",
            "--source-table=public.items",
            f"--dest-uri={place.target}",
            "--dest-table=peer.items",
            "--incremental-strategy=merge",
            "--primary-key=id",
            f"--pipelines-dir={place.folder}",
        ],
        environment={"DISABLE_TELEMETRY": "true"},
    )


def _sling(place: Place, programs: Path) -> Order:
    return Order(
        [
            programs / "sling",
            "run",
            *("--src-conn", "SOURCE", "--src-stream", "public.items"),
            *("--tgt-conn", "TARGET", "--tgt-object", "peer.items"),
            *("--mode", "incremental", "--primary-key", "id"),
        ],
        environment={
            "SOURCE": place.source + "?sslmode=disable",
            "TARGET": place.target + "?sslmode=disable",
            "SLING_HOME_DIR": str(place.folder),
            "SLING_DISABLE_TELEMETRY": "true",
        },
    )


_PEER_COUNTED = "SELECT count(*), sum(id) FROM peer.items"
_DLT = (
    "dlt[postgres,sql_database,parquet]==1.31.0",
    "sqlalchemy<2.1",
    "psycopg2-binary",
    "pyarrow==21.0.0",
    "connectorx==0.4.6",
)

OURS = ours(
    "ours",
    lambda place: place.target,
    "SELECT count(*), sum(source_id::bigint) FROM qanatix.entity",
)
PEERS_THAT_MERGE = (
    Contestant(
        "dlt pyarrow",
        _script("dlt_merge.py", "{source}", "{target}", "{folder}", "pyarrow"),
        "backend pyarrow, chunks of 50,000, merge by upsert",
        (*_DLT, "adbc-driver-postgresql==1.13.0"),
        _PEER_COUNTED,
    ),
    Contestant(
        "dlt connectorx",
        _script("dlt_merge.py", "{source}", "{target}", "{folder}", "connectorx"),
        "backend connectorx, merge by upsert",
        (*_DLT, "adbc-driver-postgresql==1.13.0"),
        _PEER_COUNTED,
    ),
    Contestant("ingestr", _ingestr, "merge on the key", ("ingestr==0.15.9",), _PEER_COUNTED),
    Contestant("sling", _sling, "incremental by the key", ("sling==1.3.5",), _PEER_COUNTED),
)
READERS = (
    Contestant("asyncpg, read only", _script("asyncpg_read.py", "{source}"), "cursor of 5,000"),
    Contestant(
        "connectorx, read only",
        _script("connectorx_read.py", "{source}"),
        "Arrow",
        ("connectorx==0.4.6", "pyarrow==21.0.0"),
    ),
    Contestant(
        "ADBC, read only",
        _script("adbc_read.py", "{source}"),
        "Arrow batches",
        ("adbc-driver-postgresql==1.13.0", "pyarrow==21.0.0"),
    ),
)
COPY = Contestant("COPY to COPY", _script("copy_copy.py", "{source}", "{target}"), "into a table with entity's indexes")
