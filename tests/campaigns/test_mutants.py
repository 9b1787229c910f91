"""The tests bite: of every line that keeps a store whole, take the care out, and a test that takes seconds fails."""

import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.campaigns.conftest import DEEP
from tests.campaigns.mutants import CORE, MUTANTS, Mutant
from tests.campaigns.trials import Trials, trials

ROOT = Path(__file__).parents[2]
COPIED = ("qanatix_pipelines", "qanatix_api", "tests")
AT_ONCE = 2
TRIED = [mutant for mutant in MUTANTS if DEEP or mutant.name in CORE]


def test_what_the_mutants_replace_is_there() -> None:
    found = {mutant.name: (ROOT / mutant.file).read_text().count(mutant.text) for mutant in MUTANTS}

    assert found == dict.fromkeys(found, 1)
    assert len(found) == len(MUTANTS)
    assert found.keys() >= CORE


@pytest.mark.timeout(1200)
@pytest.mark.server
def test_every_mutant_is_killed(tmp_path: Path, figures: Callable[[str], None]) -> None:
    with trials() as tried, ThreadPoolExecutor(AT_ONCE) as threads:
        passes = tried.run(_copy(tmp_path / "whole"), dict.fromkeys(test for mutant in TRIED for test in mutant.tests))
        assert passes.code == 0, passes.said
        killed = list(
            threads.map(lambda numbered: _is_killed(tried, tmp_path / str(numbered[0]), numbered[1]), enumerate(TRIED))
        )

    figures(f"mutants: {len(TRIED)} mutants, {sum(killed)} killed")
    assert [mutant.name for mutant, dead in zip(TRIED, killed, strict=True) if not dead] == []


def _is_killed(tried: Trials, folder: Path, mutant: Mutant) -> bool:
    """Whether a named test fails, and not merely could not be run."""
    file = _copy(folder) / mutant.file
    text = file.read_text()
    file.unlink()  # it is a link to our own
    file.write_text(text.replace(mutant.text, mutant.replacement))
    trial = tried.run(folder, mutant.tests)
    shutil.rmtree(folder)
    return trial.code == pytest.ExitCode.TESTS_FAILED and bool(re.search(r"\b\d+ failed", trial.said))


def _copy(folder: Path) -> Path:
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, copy_function=_link)  # with its bytecode, which saves seconds
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _link(file: str, link: str) -> None:
    try:
        os.link(file, link)
    except OSError:  # on another disk
        shutil.copy2(file, link)
