"""Secrets of every kind, on every road through a running system that is known, are found nowhere and in no form.

Searched is every byte that the system has written, said or shown: its store and Dagster's, with their logs; what each
process prints; each answer of the API, of Dagster's webserver and of the commands; and each command line. Not the
environment, where the operator has put the keys, nor the source's own log.
"""

import gzip
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psycopg
import pytest

from tests import stack as stacks
from tests.campaigns import (  # noqa: F401  # they lay the roads
    roads_of_looks,
    roads_of_operators,
    roads_of_pulls,
    roads_of_requests,
)
from tests.campaigns.canaries import Hit, Search, forms
from tests.campaigns.command_lines import CommandLines
from tests.campaigns.conftest import DEEP
from tests.campaigns.journey import MARK, OUTER_SECONDS, Journey, Secrets, planted
from tests.campaigns.roads import ROADS, Road
from tests.conftest import server
from tests.servers import Server
from tests.sources.postgresql.echoing import EchoingPostgreSQL
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.sources.postgresql.server import start, superuser
from tests.system import System

ERROR = "{ message stack causes { message stack } }"
REPOSITORY = '{repositoryLocationName: "qanatix", repositoryName: "__repository__"}'
# What Dagster shows to whoever opens its UI.
QUESTIONS = {
    "runs": "{ runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value } "
    "executionPlan { steps { key metadata { key value } } } assetMaterializations { description metadataEntries { "
    "label description ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } } } "
    "eventConnection { events { __typename ... on MessageEvent { message } ... on LogsCapturedEvent { fileKey } "
    f"... on ErrorEvent {{ error {ERROR} }} "
    "... on ExecutionStepFailureEvent { failureMetadata { description metadataEntries { label description } } } "
    "} } } } } }",
    "resources": f"{{ allTopLevelResourceDetailsOrError(repositorySelector: {REPOSITORY}) {{ "
    "... on ResourceDetailsList { results { name description configFields { name defaultValueAsJson } "
    "configuredValues { key value } } } } }",
    "assets": "{ assetsOrError { ... on AssetConnection { nodes { key { path } definition { description "
    "partitionKeys configField { name } metadataEntries { label } } } } } }",
    "sensors": f"{{ sensorsOrError(repositorySelector: {REPOSITORY}) {{ ... on Sensors {{ results {{ name "
    f"sensorState {{ ticks(limit: 20) {{ status error {ERROR} }} }} }} }} }} }}",
    "instance": "{ instance { info daemonHealth { allDaemonStatuses { daemonType "
    f"lastHeartbeatErrors {ERROR} }} }} }} }}",
    "workspace": "{ workspaceOrError { ... on Workspace { locationEntries { name displayMetadata { key value } } } } }",
}
LOGS = "query Logs($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"


class Walked:
    """What a system has left behind, once all its roads were walked."""

    def __init__(self, store_kind: str, folder: Path, own_server: Server | None) -> None:
        kept = Secrets()
        environment = {
            "CONNECTOR_ENCRYPTION_KEY": kept.encryption_key,
            "QANATIX_API_KEY_PEPPER": kept.pepper,
            "QANATIX_ANSWER_SECONDS": "5",
        }
        if own_server is not None:
            environment["QANATIX_STORE_URL"] = own_server.address
            kept.store_password = urlsplit(own_server.address).password
        harness = PostgreSQLHarness(server("postgresql"))
        harness.fill(3)
        echo = EchoingPostgreSQL()
        system = System(stacks.start(folder, environment))
        self.kind, self.folder, self.own_server = store_kind, folder, own_server
        self.ends: dict[str, tuple[int | str, bool]] = {}
        try:
            journey = Journey(system, kept, harness, echo)
            with CommandLines() as command_lines:
                self._walk(journey)
            journey.clear_source()
            self.secrets, self.said, self.commands = kept, system.said, journey.commands
            self.command_lines = command_lines.seen
            self.search = Search(kept.canaries())
            # While its processes run: what they would clear away at their end is searched, too.
            self.hits = self.everywhere(self.search)
            self.strays = self.where_no_query_belongs(Search({"literal": kept.literal}))
            self.marks = [self.places(Search({"mark": MARK}))]
        finally:
            system.api.close()
            system.stack.stop()
            echo.stop()

    def _walk(self, journey: Journey) -> None:
        roads = [one for one in ROADS if DEEP or not one.deep]
        together = [one for one in roads if one.when == "together"]
        with ThreadPoolExecutor(4) as walkers:
            ends = list(walkers.map(lambda one: _end(one, journey), together))
        alone = [one for one in roads if one.when == "alone"]
        ends += [_end(one, journey) for one in alone]
        self._ask(journey)
        last = [one for one in roads if one.when == "last"]
        ends += [_end(one, journey) for one in last]
        self.ends = {one.name: (end, end in one.ends) for one, end in zip(together + alone + last, ends, strict=True)}

    def _ask(self, journey: Journey) -> None:
        """Everything that Dagster shows, and what the API shows to who has no key."""
        system = journey.system
        answers = {name: system.ask_dagster(question) for name, question in QUESTIONS.items()}
        for run in answers["runs"]["runsOrError"]["results"]:
            for event in run["eventConnection"]["events"]:
                if "fileKey" in event:
                    system.ask_dagster(LOGS, key=[run["runId"], "compute_logs", event["fileKey"]])
        for path in ("/openapi.json", "/docs", "/healthz"):
            system.said.append(httpx2.get(system.stack.api_url + path, timeout=OUTER_SECONDS).text)

    def everywhere(self, search: Search) -> list[Hit]:
        hits = search.files(self.folder)
        hits += search.each((f"an answer: {text[:100]}", text.encode()) for text in self.said)
        hits += search.each(("what a command printed", text) for text in self.commands)
        hits += search.each((f"a command line: {line[:100]!r}", line) for line in self.command_lines)
        if self.own_server is not None:
            hits += search.files(_data(self.own_server)) + search.postgresql(self.own_server.address, "the store")
        return hits

    def where_no_query_belongs(self, search: Search) -> list[Hit]:
        hits = search.files(self.folder / "dagster")
        hits += search.each((str(log), log.read_bytes()) for log in self.folder.glob("*.log"))
        return hits + search.each(("a command line", line) for line in self.command_lines)

    def places(self, search: Search) -> dict[str, bool]:
        """Whether it is found, in each kind of place."""
        files = {
            "Dagster's history": self.folder / "dagster" / "history",
            "what the API prints": self.folder,
        }
        found = {name: bool(search.files(folder)) for name, folder in files.items()}
        store = (
            search.files(self.folder / "qanatix") if self.own_server is None else search.files(_data(self.own_server))
        )
        return found | {
            "the store": bool(store),
            "what a run prints": bool(search.among((self.folder / "worker.log").read_bytes(), "")),
            "the API's log": bool(search.among((self.folder / "api.log").read_bytes(), "")),
            "an answer": bool(search.each(("", text.encode()) for text in self.said)),
        }


def _end(one: Road, journey: Journey) -> int | str:
    """The others go on where one road breaks."""
    try:
        return one.walk(journey)
    except Exception as error:  # noqa: BLE001  # the test says which, and fails
        return repr(error)


def _data(own_server: Server) -> Path:
    with psycopg.connect(superuser(own_server.address)) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    return Path(row[0])


@contextmanager
def _own_server(store_kind: str) -> Iterator[Server | None]:
    if store_kind == "sqlite":
        yield None
        return
    started = start(wheel_only=True)
    yield started
    started.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"] if DEEP else ["sqlite"])
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walked]:
    with _own_server(request.param) as own_server:
        yield Walked(request.param, tmp_path_factory.mktemp("canaries"), own_server)


@pytest.mark.stack
@pytest.mark.timeout(1200)
def test_every_road_ends_where_it_should(walked: Walked) -> None:
    assert {name: end for name, (end, right) in walked.ends.items() if not right} == {}


@pytest.mark.stack
def test_no_secret_is_anywhere(walked: Walked, figures: Callable[[str], None]) -> None:
    canaries = walked.search.canaries
    figures(
        f"canaries {walked.kind}: {len(canaries)} on {len(walked.ends)} roads, each in {len(forms('x'))} forms, "
        f"{walked.search.looked_at / 1e6:.0f} MB searched, {len(walked.command_lines)} command lines, "
        f"{len(walked.hits)} hits"
    )
    assert walked.hits == []


@pytest.mark.stack
def test_no_query_is_in_dagster_in_a_log_or_in_a_command_line(walked: Walked) -> None:
    assert walked.strays == []


@pytest.mark.stack
def test_what_may_be_found_is_found_in_each_of_these_places(walked: Walked) -> None:
    assert [place for found in walked.marks for place, there in found.items() if not there] == []
    assert any(b"qanatix_pipelines.definitions" in line for line in walked.command_lines)
    assert len(walked.said) > 100


SECRET = planted()


@pytest.mark.parametrize("form", forms(SECRET))
def test_the_search_finds_every_form(form: str) -> None:
    content = bytes(7) + forms(SECRET)[form] + bytes(7)

    assert Search({"secret": SECRET}).among(content, "here")
    assert not Search({"secret": planted()}).among(content, "here")


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("form", ["raw", "in UTF-16"])
def test_the_search_finds_it_in_packed_files_and_in_sqlites_values_and_log(
    tmp_path: Path, before: int, form: str
) -> None:
    content = b"x" * before + forms(SECRET)[form] + b"y" * 5000
    (tmp_path / "packed").write_bytes(zlib.compress(content))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content))
    with closing(sqlite3.connect(tmp_path / "kept.db", isolation_level=None)) as kept:
        kept.execute("PRAGMA journal_mode = WAL")
        kept.execute("CREATE TABLE t (packed, filler)")
        kept.execute("INSERT INTO t VALUES (?, ?)", (zlib.compress(content), content))
        hits = Search({"secret": SECRET}).files(tmp_path)

    assert {hit.place.removeprefix(f"{tmp_path}/") for hit in hits} == {
        "packed, unpacked",
        "packed.gz, unpacked",
        "kept.db-wal",
        "kept.db, t.packed, unpacked",
        "kept.db, t.filler",
    }


def test_the_search_finds_it_in_base64_wherever_it_stands() -> None:
    import base64

    for before in range(12):
        for after in range(4):
            content = base64.b64encode(b"\xff" * before + SECRET.encode() + b"\xff" * after)
            assert Search({"secret": SECRET}).among(content, "here")


def test_a_command_line_is_seen() -> None:
    import subprocess
    import sys

    with CommandLines() as seen:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(2)", MARK], check=True)

    assert any(MARK.encode() in line for line in seen.seen)
