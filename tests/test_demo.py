"""`make demo ARGS=--once`, and the README's curl calls as they are printed, while a demo runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stack import ROOT
from tests.test_readme import block

pytestmark = [pytest.mark.server, pytest.mark.stack]


@dataclass(frozen=True)
class Demo:
    """A demo that is ready: `folder` holds its data, `printed` what it says."""

    folder: Path
    printed: Path
    process: subprocess.Popen[bytes]


@contextmanager
def running(folder: Path) -> Iterator[Demo]:
    """A demo, interrupted when the context ends. It must leave nothing running, whatever it was."""
    printed = folder.with_name("printed")
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.demo", "--folder", folder], cwd=ROOT, stdout=output, stderr=output
        )
    try:
        for _ in range(1200):
            if "Ctrl-C stops all of it" in printed.read_text() or process.poll() is not None:
                break
            time.sleep(0.1)
        yield Demo(folder, printed, process)
    finally:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)  # an impatient second Ctrl-C leaves nothing behind, either
        process.wait(60)
        assert _started_in(folder) == {}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo") / "data") as demo:
        yield demo
    assert demo.process.returncode == 0


def test_its_first_pull_counts_2847_2841_6(stack: Demo) -> None:
    (first, second) = re.findall(r"/pull  ->  200\n(\{.*?\n\})", stack.printed.read_text(), re.DOTALL)

    counts = ("records_pulled", "records_ingested", "duplicates_skipped")
    assert [json.loads(first)[count] for count in counts] == [2847, 2841, 6]
    assert [json.loads(second)[count] for count in counts] == [5, 5, 0]


def test_the_readmes_curl_calls_work_as_printed(stack: Demo) -> None:
    script = block("sh", "# Register a connector") + block("sh", "-X PATCH") + block("sh", "-X DELETE")
    script = script.replace(". .demo/env", f". {stack.folder}/env")
    script = script.replace("curl -s ", "curl -s -w '\\n%{http_code}\\n' ")
    # The first call's answer goes into a variable: its status is not to be added to it.
    script = script.replace("$(curl -s -w '\\n%{http_code}\\n' ", "$(curl -s ", 1)

    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    pulled, status, listed, *rest = [line for line in done.stdout.splitlines() if line]
    assert status == "200"
    assert json.loads(pulled).keys() == json.loads(block("json", "records_pulled")).keys()
    assert [json.loads(pulled)[count] for count in ("records_pulled", "records_ingested")] == [2849, 2843]
    assert [json.loads(pulled)[role] for role in ("key_column", "name_column")] == ["id", "product_name"]
    assert {connector["connection_config"] for connector in json.loads(listed)} == {"***REDACTED***"}
    assert rest[0] == "200"
    assert len(json.loads(rest[1])["items"]) == 2
    assert json.loads(rest[3])["schedule"]["cron"] == "*/5 * * * *"
    assert [rest[2], *rest[4:]] == ["200", "200", "204"]


def test_the_command_line_tends_the_demos_store(stack: Demo) -> None:
    listed = subprocess.run(
        ["bash", "-euc", f". {stack.folder}/env; qanatix keys list"], capture_output=True, text=True, check=True
    )

    assert listed.stdout.rstrip().endswith("  demo")


def test_a_second_demo_in_the_same_folder_leaves_the_first_alone(stack: Demo) -> None:
    command = [sys.executable, "-m", "tests.demo", "--folder", stack.folder]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (second.returncode, second.stderr) == (1, "")
    assert second.stdout.startswith("\nA demo is already running")
    assert (stack.folder / "env").exists()


def test_the_command_line_pulls_the_demos_connector_as_the_readme_has_it(stack: Demo) -> None:
    register = (
        block("sh", "# Register a connector").partition("# Pull it")[0].replace(". .demo/env", f". {stack.folder}/env")
    )
    script = register + block("sh", "shows how far it is")

    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "completed"), done.stderr


def test_the_readmes_calls_about_one_pull_work_as_printed(stack: Demo) -> None:
    register = (
        block("sh", "# Register a connector").partition("# Pull it")[0].replace(". .demo/env", f". {stack.folder}/env")
    )
    calls = block("sh", "Start a pull").replace("\ncurl -s ", "\ncurl -s -w '\\n%{http_code}\\n' ")

    script = register + calls
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    receipt, shown, answer, cancelled = [line for line in done.stdout.splitlines() if line]
    assert (json.loads(receipt)["trigger"], shown) == ("api", "200")
    if cancelled == "409":
        assert json.loads(answer)["code"] == "pull_finished"
    else:
        assert (json.loads(answer)["status"], cancelled) in (("cancelled", "200"), ("cancelled", "202"))


def test_a_demo_whose_services_die_says_so_and_ends(tmp_path: Path) -> None:
    with running(tmp_path / "data") as demo:
        api = next(number for number, command in _started_in(demo.folder).items() if "uvicorn" in command)
        os.kill(api, signal.SIGKILL)

        assert demo.process.wait(60) == 1

    assert "api has ended by itself" in demo.printed.read_text()


def _started_in(folder: Path) -> dict[int, str]:
    """The processes that have this folder in their environment: their commands by their ids."""
    started = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"QANATIX_DATA_DIR={folder}".encode() in environment and int(process.name) != os.getpid():
            started[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return started
