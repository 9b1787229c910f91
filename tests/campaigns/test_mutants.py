"""The tests bite: of every line that keeps a store whole, take the care out, and a test that takes seconds fails."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.campaigns.conftest import DEEP
from tests.campaigns.mutants import CORE, MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("qanatix_pipelines", "qanatix_api", "tests")
AT_ONCE = 2
OUTER_SECONDS = 240
TRIED = [mutant for mutant in MUTANTS if DEEP or mutant.name in CORE]


def test_what_the_mutants_replace_is_there() -> None:
    found = {mutant.name: (ROOT / mutant.file).read_text().count(mutant.text) for mutant in MUTANTS}

    assert found == dict.fromkeys(found, 1)
    assert len(found) == len(MUTANTS)
    assert found.keys() >= CORE


@pytest.mark.timeout(1200)
@pytest.mark.server
def test_every_mutant_is_killed(tmp_path: Path, figures: Callable[[str], None]) -> None:
    whole = _copy(tmp_path / "whole")
    passes = _tested(whole, dict.fromkeys(test for mutant in TRIED for test in mutant.tests))
    assert passes.returncode == 0, passes.stdout

    with ThreadPoolExecutor(AT_ONCE) as threads:
        killed = list(
            threads.map(lambda numbered: _is_killed(tmp_path / str(numbered[0]), numbered[1]), enumerate(TRIED))
        )

    figures(f"mutants: {len(TRIED)} mutants, {sum(killed)} killed")
    assert [mutant.name for mutant, dead in zip(TRIED, killed, strict=True) if not dead] == []


def _is_killed(folder: Path, mutant: Mutant) -> bool:
    """Whether a named test fails, and not merely could not be run."""
    file = _copy(folder) / mutant.file
    file.write_text(file.read_text().replace(mutant.text, mutant.replacement))
    tested = _tested(folder, mutant.tests)
    shutil.rmtree(folder)
    return tested.returncode == pytest.ExitCode.TESTS_FAILED and bool(re.search(r"\b\d+ failed", tested.stdout))


def _copy(folder: Path) -> Path:
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name)  # with its bytecode, which saves seconds
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _tested(folder: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """The tests of a copy: its folder comes before the installed packages."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", *tests]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = inherited | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"
    }  # to load what none of the tests use takes a second
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=OUTER_SECONDS, check=False
    )
