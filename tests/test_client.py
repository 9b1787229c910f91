"""`qanatix pull`, as it is run: beside the whole system, and beside APIs that answer as ours would not."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from qanatix_pipelines.keys import new_key
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.rejections import Reason, told_by_reason
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.opening import Store
from tests import stack as stacks
from tests.commands import qanatix
from tests.conftest import server
from tests.held import held, held_merges
from tests.served import served
from tests.servers import free_port
from tests.sources.postgresql.harness import PostgreSQLHarness
from tests.system import System
from tests.test_pull import Scripted
from tests.test_readme import ROOT, block
from tests.test_store import NEW

pytestmark = pytest.mark.stack
QANATIX = Path(sys.executable).with_name("qanatix")
OUTER_SECONDS = 120
NEEDS_KEY = "Error: QANATIX_API_KEY must hold an API key with the scopes pulls:run and connectors:read.\n"


@pytest.fixture
def harness() -> PostgreSQLHarness:
    return PostgreSQLHarness(server("postgresql"))


def environment(url: str, key: str | None) -> dict[str, str]:
    """A caller's: it knows of no store."""
    ours = {"QANATIX_API_URL": url} | ({} if key is None else {"QANATIX_API_KEY": key})
    return {name: value for name, value in os.environ.items() if not name.startswith("QANATIX")} | ours


def of(stack: System) -> dict[str, str]:
    return environment(stack.stack.api_url, stack.api.headers["Authorization"].removeprefix("Bearer "))


def pull(given: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return qanatix(given, "pull", *arguments)


class TestEnds:
    def test_a_pull_that_completes_is_printed_as_its_receipt(self, stack: System, harness: PostgreSQLHarness) -> None:
        harness.fill(12)
        connector = stack.register(harness.everything, harness.config)

        done = pull(of(stack), connector["id"])

        assert (done.returncode, done.stderr) == (0, "")  # no terminal is there to draw on
        receipt = json.loads(done.stdout)
        assert (receipt["status"], receipt["records_pulled"], receipt["full_refresh"]) == ("completed", 12, False)
        assert receipt == stack.api.get(f"/pulls/{receipt['pull_id']}").json()

    def test_a_full_refresh_reads_everything_again(self, stack: System, harness: PostgreSQLHarness) -> None:
        harness.fill(12)
        connector = stack.register(harness.since, harness.config)
        counts = [
            json.loads(pull(of(stack), connector["id"], *option).stdout)["records_pulled"]
            for option in ((), (), ("--full-refresh",))
        ]

        assert counts == [12, 0, 12]

    def test_a_part_is_read_and_the_watermark_stays(self, stack: System, harness: PostgreSQLHarness) -> None:
        harness.fill(12)
        connector = stack.register(harness.since, harness.config)
        pull(of(stack), connector["id"])
        before = json.loads(qanatix(of(stack), "watermark", connector["id"]).stdout)

        done = pull(of(stack), connector["id"], "--since", "2000-01-01T00:00:00Z")

        receipt = json.loads(done.stdout)
        assert (receipt["since"], receipt["records_pulled"]) == ("2000-01-01T00:00:00Z", 12)
        assert before["value"] is not None
        assert json.loads(qanatix(of(stack), "watermark", connector["id"]).stdout) == before

    def test_the_page_on_dagster_reads_the_window_of_each_connector_that_says_until(
        self, stack: System, harness: PostgreSQLHarness
    ) -> None:
        harness.fill(3)
        query = f"{harness.since} AND updated_at <= :until"
        windowed, other = (stack.register(said, harness.config) for said in (query, harness.since))
        script = block("sh", "says_until=", (ROOT / "docs" / "dagster.md").read_text())

        path = {"PATH": f"{QANATIX.parent}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", script], env=of(stack) | path, check=False, capture_output=True)

        pulls = [stack.api.get(f"/connectors/{one['id']}/pulls").json()["items"] for one in (windowed, other)]
        assert [[pull["until"] for pull in items] for items in pulls] == [["2026-02-01T00:00:00Z"], []]

    def test_a_watermark_that_is_set_is_where_the_next_pull_begins(
        self, stack: System, harness: PostgreSQLHarness
    ) -> None:
        harness.fill(12)
        connector = stack.register(harness.since, harness.config)
        pull(of(stack), connector["id"])

        done = qanatix(of(stack), "watermark", connector["id"], "--set", "2000-01-01T00:00:00Z")

        told = json.loads(done.stdout)
        assert (told["value"], told["next_last_pull"]) == ("2000-01-01T00:00:00Z", "1999-12-31T23:55:00Z")
        assert json.loads(pull(of(stack), connector["id"]).stdout)["records_pulled"] == 12
        assert json.loads(qanatix(of(stack), "watermark", connector["id"], "--reset").stdout)["value"] is None

    def test_a_pull_that_fails_says_why(self, stack: System) -> None:
        dsn = f"postgresql://reader:hunter2@127.0.0.1:{free_port()}/shop"
        connector = stack.register("SELECT 1 AS id", {"dsn": dsn})

        done = pull(of(stack), connector["id"])

        receipt = json.loads(done.stdout)
        assert (done.returncode, receipt["status"]) == (1, "failed")
        assert done.stderr == f"source_unreachable: {receipt['error']['detail']}\n"

    def test_a_pull_that_is_cancelled_says_so(self, stack: System, harness: PostgreSQLHarness) -> None:
        with held(harness.server.address, rows=80, after=40) as (query, _let_go):
            connector = stack.register(query, harness.config, batch_size=10)
            with on_terminal(of(stack), connector["id"]) as following:
                following.until("running: 40 rows")
                (live,) = stack.api.get(f"/connectors/{connector['id']}/pulls").json()["items"]
                stack.api.post(f"/pulls/{live['pull_id']}/cancel")
                following.until("pull_cancelled: ")

                assert (following.ended(), json.loads(following.printed())["status"]) == (1, "cancelled")


class TestDryRun:
    def test_what_a_pull_would_do_is_printed_and_not_done(self, stack: System, harness: PostgreSQLHarness) -> None:
        harness.fill(12)
        connector = stack.register(harness.everything, harness.config)
        pull(of(stack), connector["id"])
        harness.fill(13)
        harness.forget_name(3)

        done = pull(of(stack), connector["id"], "--dry-run")

        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert (told["status"], told["records_pulled"], told["records_new"]) == ("dry_run", 13, 1)
        (third,) = [one for one in told["changed"] if one["source_id"] == "3"]
        assert {"field": "name", "before": "Item 3", "after": None} in third["fields"]
        assert json.loads(pull(of(stack), connector["id"]).stdout)["records_ingested"] == told["records_ingested"]

    def test_on_a_terminal_it_is_shown_as_tables(self, stack: System, harness: PostgreSQLHarness) -> None:
        harness.fill(12)
        connector = stack.register(harness.everything, harness.config)

        status, lines = on_screen(of(stack), "pull", connector["id"], "--dry-run")

        assert (status, lines[0]) == (0, "A pull would read 12 rows. Nothing was ingested.")

    def test_one_that_fails_says_why(self, stack: System) -> None:
        dsn = f"postgresql://reader:hunter2@127.0.0.1:{free_port()}/shop"
        connector = stack.register("SELECT 1 AS id", {"dsn": dsn})

        done = pull(of(stack), connector["id"], "--dry-run")

        assert (done.returncode, done.stdout) == (1, "")
        assert "(source_unreachable)" in done.stderr


class TestTerminal:
    def test_a_receipt_and_a_watermark_are_shown_as_tables(self, stack: System, harness: PostgreSQLHarness) -> None:
        harness.fill(12)
        connector = stack.register(harness.since, harness.config)

        status, receipt = on_screen(of(stack), "pull", connector["id"])
        _, watermark = on_screen(of(stack), "watermark", connector["id"])
        _, as_json = on_screen(of(stack), "watermark", connector["id"], "--json")

        assert (status, receipt[0].startswith("The pull completed in ")) == (0, True)
        assert receipt[1] == "  ingested       12"
        assert watermark[0].startswith("watermark            20")
        assert json.loads("".join(as_json))["value"] in watermark[0]

    def test_a_warning_fits_it(self, stack: System, harness: PostgreSQLHarness) -> None:
        connector = stack.register("SELECT 7 AS id, n AS name FROM generate_series(1, 3) n", harness.config)
        with on_terminal(of(stack), connector["id"]) as following:
            following.until("such rows: '7'.")

        said = following.shown[following.shown.index("keys_repeated: ") :]
        assert max(map(len, said.splitlines())) <= 80
        assert len(said.splitlines()) > 1

    def test_a_line_shows_how_far_it_is(self, stack: System, harness: PostgreSQLHarness) -> None:
        with held(harness.server.address, rows=80, after=40) as (query, let_go):
            connector = stack.register(query, harness.config, batch_size=10)
            with on_terminal(of(stack), connector["id"]) as following:
                following.until("running: 40 rows, ")
                let_go()
                following.until("completed: 80 rows, ")

                assert following.ended() == 0
                assert json.loads(following.printed())["records_pulled"] == 80
                last = following.shown.rstrip().rpartition("\r")[2]
                assert last.startswith("completed: 80 rows, ")
                assert " rows/s, 0.0 MiB [" in last

    def test_who_interrupts_it_leaves_the_pull_alone_and_is_told_how_to_cancel_it(
        self, stack: System, harness: PostgreSQLHarness
    ) -> None:
        with held(harness.server.address, rows=80, after=40) as (query, let_go):
            connector = stack.register(query, harness.config, batch_size=10)
            with on_terminal(of(stack), connector["id"]) as following:
                following.until("running: 40 rows")
                following.process.send_signal(signal.SIGINT)
                ended = following.ended()
            (live,) = stack.api.get(f"/connectors/{connector['id']}/pulls").json()["items"]
            joined = stack.api.post(f"/connectors/{connector['id']}/pull?wait=false").json()
            let_go()
            cancel = f"curl -X POST {stack.stack.api_url}/api/v1/pulls/{live['pull_id']}/cancel"

            assert (ended, following.printed()) == (130, "")
            assert "The pull goes on. To cancel it: " + cancel in following.shown
            assert of(stack)["QANATIX_API_KEY"] not in following.shown
            assert live["status"] == "running"
            assert joined["pull_id"] == live["pull_id"]

    def test_an_api_that_is_started_again_is_waited_for(self, stack: System, harness: PostgreSQLHarness) -> None:
        running = stack.stack
        with held(harness.server.address, rows=80, after=40) as (query, let_go):
            connector = stack.register(query, harness.config, batch_size=10)
            with on_terminal(of(stack), connector["id"]) as following:
                following.until("running: 40 rows")
                api = running.processes["api"]
                api.send_signal(signal.SIGINT)
                api.wait(OUTER_SECONDS)
                let_go()
                stacks.spawn(running, "api", [str(argument) for argument in api.args])  # type: ignore[union-attr]
                stacks.wait_for_answer(running, "api", f"{running.api_url}/healthz")
                following.until("completed: 80 rows")

                assert following.ended() == 0


class TestMerge:
    @pytest.mark.parametrize("store_kind", ["postgresql"])
    def test_the_line_says_that_a_pull_merges_and_for_how_long(
        self, store: Store, settings: Settings, store_database: str
    ) -> None:
        """It is joined: the API that answers has no Dagster."""
        connector = store.connectors.add(NEW)
        receipt = store.pulls.begin(connector, "run")
        source: Any = Scripted([[1, 2, 3]])
        with served(settings) as api, ThreadPoolExecutor(1) as threads, held_merges(store_database) as let_go:
            pulling = threads.submit(run_pull, store, connector, receipt, lambda _config: source)
            with on_terminal(environment(api.url, api.key), str(connector.id)) as following:
                following.until(" s: 3 rows, ")
                let_go()
                following.until("completed: 3 rows, ")

                assert following.ended() == 0
            pulling.result()
        assert re.search(r"\rmerging for [0-9]+ s: 3 rows, ", following.shown)


class TestAmiss:
    """What a pull that completed has to say goes to stderr; its receipt is printed all the same."""

    def test_rejected_rows_are_counted_by_reason(self, stack: System, harness: PostgreSQLHarness) -> None:
        query = "SELECT n AS id, CASE WHEN n > 2 THEN 'Item' ELSE ' ' END AS name FROM generate_series(1, 4) n"
        connector = stack.register(query, harness.config, name_column="name")

        done = pull(of(stack), connector["id"])

        receipt = json.loads(done.stdout)
        assert (done.returncode, receipt["rejected_by_reason"]) == (0, {"name_missing": 2})
        assert done.stderr == f"{told_by_reason({Reason.NAME_MISSING: 2})}\n"
        assert "name_missing" in done.stderr

    @pytest.mark.parametrize(
        ("query", "told"),
        [
            ("SELECT 7 AS id, n AS name FROM generate_series(1, 3) n", "keys_repeated: 2 rows "),
            ("SELECT n AS name FROM generate_series(1, 3) n", "no_key: "),
        ],
    )
    def test_a_warning_is_said_by_its_code_and_in_words(
        self, stack: System, harness: PostgreSQLHarness, query: str, told: str
    ) -> None:
        connector = stack.register(query, harness.config)

        done = pull(of(stack), connector["id"])

        (warning,) = json.loads(done.stdout)["warnings"]
        assert done.returncode == 0
        assert done.stderr.startswith(told)
        assert warning["detail"] in done.stderr
        assert ("Keys with the most such rows: '7'." in done.stderr) == (warning["keys"] == ["7"])
        assert done.stderr.count("\n") == 1

    def test_a_key_that_may_not_read_entities_is_told_of_no_rows_key(
        self, stack: System, harness: PostgreSQLHarness
    ) -> None:
        connector = stack.register("SELECT 'row-key' AS id, n FROM generate_series(1, 3) n", harness.config)
        key = stack.stack.command("keys", "create", "--scope", "pulls:run", "--scope", "connectors:read")

        done = pull(environment(stack.stack.api_url, key), connector["id"])

        assert (done.returncode, json.loads(done.stdout)["keys_repeated"]) == (0, 2)
        assert "keys_repeated: 2 rows" in done.stderr
        assert "row-key" not in done.stdout + done.stderr


class TestRefusals:
    def test_an_unknown_connector(self, stack: System) -> None:
        done = pull(of(stack), str(uuid4()))

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "Error: Not found: There is no such connector.\n"

    @pytest.mark.parametrize("key", [None, "", "hunter2"])
    def test_a_missing_or_mistyped_key(self, stack: System, key: str | None) -> None:
        done = pull(environment(stack.stack.api_url, key), str(uuid4()))

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith(NEEDS_KEY)
        assert "hunter2" not in done.stderr

    def test_a_key_that_the_api_does_not_know(self, stack: System) -> None:
        key = new_key().text

        done = pull(environment(stack.stack.api_url, key), str(uuid4()))

        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr
            == "Error: The API knows no such key as is in QANATIX_API_KEY; or it was revoked, or has ended.\n"
        )

    def test_a_key_that_may_not_pull(self, stack: System) -> None:
        key = stack.stack.command("keys", "create", "--scope", "connectors:read")

        done = pull(environment(stack.stack.api_url, key), str(uuid4()))

        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "Error: The key in QANATIX_API_KEY was refused: this needs an API key with the scope pulls:run.\n"
        )

    def test_a_key_that_may_not_look_is_told_that_the_pull_goes_on(
        self, stack: System, harness: PostgreSQLHarness
    ) -> None:
        key = stack.stack.command("keys", "create", "--scope", "pulls:run")
        with held(harness.server.address, rows=80, after=40) as (query, _let_go):
            connector = stack.register(query, harness.config)
            done = pull(environment(stack.stack.api_url, key), connector["id"])

        assert (done.returncode, done.stdout) == (1, "")
        assert "with the scope connectors:read. The pull goes on. To cancel it: curl" in done.stderr
        assert key not in done.stderr

    def test_an_api_that_is_not_there(self) -> None:
        url = f"http://127.0.0.1:{free_port()}"

        done = pull(environment(url, new_key().text), str(uuid4()))

        assert (done.returncode, done.stderr) == (1, f"Error: The API at {url} cannot be reached.\n")

    @pytest.mark.parametrize(
        "url", ["127.0.0.1:8000", "ftp://host", "http://me:hunter2@host", "http://host/?key=hunter2"]
    )
    def test_what_is_no_url_of_an_api_is_not_repeated(self, url: str) -> None:
        done = pull(environment(url, new_key().text), str(uuid4()))

        assert (done.returncode, done.stdout) == (2, "")
        assert "Invalid value for '--url'" in done.stderr
        assert "hunter2" not in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (
                ("pull", "--since", "hunter2"),
                "Error: --since must be a time with its zone, such as 2026-01-31T00:00:00Z",
            ),
            (("pull", "--until", "5"), "Error: --until needs since, where the window begins."),
            (("pull", "--since", "5", "--full-refresh"), "Error: --since must not be given together with full_refresh"),
            (("pull", "--limit", "0"), "Error: --limit Input should be greater than or equal to 1."),
            (("watermark", "--set", "5", "--reset"), "Error: --set and --reset contradict each other."),
        ],
    )
    def test_what_contradicts_itself_is_told_before_the_api_is_asked(
        self, arguments: tuple[str, ...], told: str
    ) -> None:
        command, *options = arguments

        done = qanatix(environment("http://127.0.0.1:1", new_key().text), command, str(uuid4()), *options)

        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert "hunter2" not in done.stderr

    def test_a_connector_is_named_by_its_id_alone(self) -> None:
        assert pull(environment("http://127.0.0.1:1", new_key().text), "Products").returncode == 2


class TestOddAnswers:
    @pytest.mark.parametrize(
        ("status", "body", "told"),
        [
            (
                422,
                {"detail": [{"loc": ["query", "wait"], "msg": "There is no such parameter.", "type": "extra"}]},
                "The API does not take this request. wait: There is no such parameter.",
            ),
            (
                422,
                {
                    "detail": [
                        {"loc": ["body", "name"], "msg": "Field required", "type": "missing"},
                        {"loc": ["body", "connection_config", "dsn"], "msg": "must begin so", "type": "value_error"},
                        {"loc": ["body", "names", 2], "msg": "must be a text", "type": "value_error"},
                        {"loc": ["path", "key"], "msg": "must be shorter", "type": "value_error"},
                        {"loc": ["body"], "msg": "must be an object", "type": "value_error"},
                        {"msg": "is of another release", "type": "value_error"},
                    ]
                },
                (
                    "The API does not take this request. name: Field required; connection_config.dsn: must begin so; "
                    "names.2: must be a text; key: must be shorter; must be an object; is of another release"
                ),
            ),
            (429, {"detail": "Too many."}, "The API was asked too often: come again in 7 seconds."),
            (
                503,
                {"detail": "Dagster is away.", "code": "pull_not_started"},
                "The API answered 503. Dagster is away. (pull_not_started)",
            ),
            (500, {"detail": "\x1b[2Jgone"}, "The API answered 500. ?[2Jgone"),
            (404, "<html>no such page</html>", "Not found: What answers there is no QANATIX API."),
            (202, {"pull_id": "none"}, "What answers at {url} is not this release's API."),
        ],
    )
    def test_each_is_told_in_a_sentence(self, status: int, body: Any, told: str) -> None:
        with answering(status, body, {"Retry-After": "7"}) as (url, _asked):
            done = pull(environment(url, new_key().text), str(uuid4()))

        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {told.format(url=url)}\n")

    def test_another_host_is_not_given_the_key(self) -> None:
        with (
            answering(200, {}) as (other, asked),
            answering(202, {}, {"Location": f"{other}/api/v1/pulls/{uuid4()}"}) as (url, _),
        ):
            done = pull(environment(url, new_key().text), str(uuid4()))

        assert (done.returncode, asked) == (1, [])
        assert "on another host" in done.stderr


def on_screen(given: dict[str, str], *arguments: str) -> tuple[int, list[str]]:
    """The exit status of `qanatix ...`, and what it prints to a terminal."""
    ours, its = pty.openpty()
    done = subprocess.run([QANATIX, *arguments], env=given, stdout=its, stderr=subprocess.DEVNULL, check=False)
    os.close(its)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    return done.returncode, shown.splitlines()


class OnTerminal:
    """A `qanatix pull` whose stderr is a terminal, and all that was `shown` there."""

    def __init__(self, process: subprocess.Popen[str], terminal: int) -> None:
        self.process = process
        self.shown = ""
        self._terminal = terminal
        self._printed: str | None = None

    def until(self, text: str) -> None:
        deadline = time.monotonic() + OUTER_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, f"it does not show {text!r}: {self.shown!r}"
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.shown += os.read(self._terminal, 4096).decode()

    def ended(self) -> int:
        """Its exit status, once there is one."""
        self.printed()
        while select.select([self._terminal], [], [], 0)[0]:
            self.shown += os.read(self._terminal, 4096).decode()
        return self.process.returncode

    def printed(self) -> str:
        if self._printed is None:
            self._printed, _ = self.process.communicate(timeout=OUTER_SECONDS)
        return self._printed


@contextmanager
def on_terminal(given: dict[str, str], *arguments: str) -> Iterator[OnTerminal]:
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    process = subprocess.Popen(
        [QANATIX, "pull", *arguments],
        env=given,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=its,
        text=True,
    )
    try:
        yield OnTerminal(process, ours)
    finally:
        process.kill()
        process.communicate()
        os.close(its)
        os.close(ours)


@contextmanager
def answering(status: int, body: Any, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A server that answers all alike, and what it was asked."""
    asked: list[str] = []
    sent = (body if isinstance(body, str) else json.dumps(body)).encode()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(sent))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None: ...

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
    finally:
        running.shutdown()
        thread.join()
        running.server_close()
