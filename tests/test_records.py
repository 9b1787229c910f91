"""Entities in the vendor's newer words, and what is answered where there is nothing."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

API = "/api/v1"
BODY: dict[str, Any] = {
    "name": "Products",
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "product",
    "connection_config": {"dsn": "postgresql://reader:secret@db.internal:5432/shop"},
    "query": "SELECT * FROM products",
}


@pytest.fixture
def store_kind() -> str:
    return "sqlite"


@pytest.fixture
def entity(api: TestClient) -> dict[str, Any]:
    """The entity of a connector that was pulled, beside one in the same collection that was not."""
    made = api.post(f"{API}/connectors", json=BODY).json()["id"]
    api.post(f"{API}/connectors", json=BODY | {"entity_type": "order"})
    api.post(f"{API}/connectors/{made}/pull")
    found: dict[str, Any] = api.get(f"{API}/entities").json()["items"][0]
    return found


def test_a_record_is_its_entity_in_newer_words(api: TestClient, entity: dict[str, Any]) -> None:
    expected = {name: value for name, value in entity.items() if name not in {"vertical", "entity_type"}}
    data = expected.pop("vertical_data")

    record = api.get(f"{API}/records/{entity['id']}")

    assert record.json() == expected | {"collection_data": data, "data": data}
    assert "123456789012345678901234567890.5" in record.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("collection=manufacturing&record_type=product", True),
        ("vertical=manufacturing&collection=manufacturing", True),
        ("collection=retail", False),
        ("limit=1", True),
    ],
)
def test_records_are_listed_as_entities_are(
    api: TestClient, entity: dict[str, Any], query: str, *, found: bool
) -> None:
    page = api.get(f"{API}/records?{query}").json()

    expected = [api.get(f"{API}/records/{entity['id']}").json()] if found else []
    assert page == {"items": expected, "records": expected, "cursor": None, "has_more": False}


@pytest.mark.parametrize("path", ["records", "entities"])
def test_words_of_a_pair_that_differ_are_refused(api: TestClient, path: str) -> None:
    refused = api.get(f"{API}/{path}?vertical=a&collection=b")

    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "collection"])


@pytest.mark.usefixtures("entity")
def test_collections_are_listed_with_their_types_and_counts(api: TestClient) -> None:
    api.post(f"{API}/connectors", json=BODY | {"vertical": "empty"})

    assert api.get(f"{API}/collections").json() == [
        {"collection": "empty", "record_types": ["product"], "record_count": 0},
        {"collection": "manufacturing", "record_types": ["order", "product"], "record_count": 1},
    ]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{API}/recordz", "no_such_path"),
        (f"{API}/records/", "no_such_path"),
        ("/nowhere", "no_such_path"),
        (f"{API}/records/00000000-0000-0000-0000-000000000001", None),
        (f"{API}/records/nonsense", None),
        (f"{API}/connectors/by-key/nonsense", None),
    ],
)
def test_a_path_that_is_none_is_told_from_a_thing_that_is_not_there(
    api: TestClient, path: str, code: str | None
) -> None:
    answer = api.get(path)

    assert (answer.status_code, answer.json().get("code")) == (404, code)
