"""The shape of the code, where no linter holds it."""

from pathlib import Path

import pytest

LONGEST = 300
ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("qanatix_api", "qanatix_pipelines") for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_read_in_one_go(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= LONGEST
