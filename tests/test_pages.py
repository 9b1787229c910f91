"""The pages are held to each other: links lead somewhere, and the glossary's words are those of the code."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_pipelines.reports import AdviceCode, CheckName
from qanatix_pipelines.settings import Settings
from tests.conftest import ENCRYPTION_KEY, PEPPER

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
# The words by which the API was asked for.
SEED = [
    "connector",
    "connector_type",
    "vertical",
    "entity_type",
    "pull",
    "records_pulled",
    "records_ingested",
    "duplicates_skipped",
]


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """What a link to this page may name after `#`: ids, and GitHub's names of headings."""
    found = set(re.findall(r'<a id="([^"]+)">', prose(page)))
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).replace(" ", "-")
        repeated = sum(1 for anchor in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", anchor))
        found.add(f"{name}-{repeated}" if name in found else name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_of_a_page_leads_to_a_file_and_to_a_place_in_it(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)

    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: Path) -> None:
    broken = []
    for table in re.findall(r"(?:^\|.*\n?)+", prose(page), re.MULTILINE):
        rows = [re.sub(r"\\\|", "", row).count("|") for row in table.splitlines()]
        broken += [row for row, cells in zip(table.splitlines(), rows, strict=True) if cells != rows[0]]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:tests|docs|deploy|examples|benchmarks|qanatix_pipelines|qanatix_api)/[\w./-]+)`", prose(page)
    )

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    }

    assert [str(page) for page in PAGES if page not in linked and page.name != "README.md"] == []


def test_every_decision_has_its_date_and_the_newest_is_the_last() -> None:
    decisions = (ROOT / "docs" / "decisions.md").read_text().split("\n## ")[1:]
    dates = [re.match(r".+\n(\d{4}-\d\d-\d\d)\. ", decision) for decision in decisions]

    assert [decision for decision, date in zip(decisions, dates, strict=True) if date is None] == []
    assert [date[1] for date in dates if date] == sorted(date[1] for date in dates if date)


@pytest.mark.parametrize("word", SEED)
def test_every_word_of_the_api_stands_in_the_glossary(word: str) -> None:
    assert f'| <a id="{word}"></a>{word} | ' in GLOSSARY


def test_no_word_stands_in_the_glossary_twice() -> None:
    words = re.findall(r'<a id="([^"]+)">', GLOSSARY)

    assert len(words) > len(SEED)
    assert sorted(words) == sorted(set(words))


def test_the_fields_that_the_glossary_names_are_the_apis(tmp_path: Path) -> None:
    with TestClient(create_app(Settings(data_dir=tmp_path, encryption_key=ENCRYPTION_KEY, pepper=PEPPER))) as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    fields = {field for schema in schemas.values() for field in schema.get("properties", {})}
    named = {
        field for fields in re.findall(r"API: ((?:`\w+`(?:, )?)+)", GLOSSARY) for field in re.findall(r"\w+", fields)
    }

    assert len(named) > len(SEED)
    assert sorted(named - fields) == []


def test_the_checks_and_warnings_of_a_test_stand_on_their_page_in_order() -> None:
    page = (ROOT / "docs" / "look-first.md").read_text()
    first = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)

    assert first == [*CheckName, *AdviceCode]


def test_the_settings_that_the_glossary_names_are_there() -> None:
    named = set(re.findall(r"QANATIX_\w+", GLOSSARY))

    assert sorted(named - {field.alias for field in Settings.model_fields.values()}) == []
