"""What is said of a connector: in the model's words, and in the product's."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.campaigns import model
from tests.campaigns.worlds import HOUR

SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "query": st.sampled_from(list(model.QUERIES)),
    "entity_set": st.sampled_from([("retail", "product"), ("retail", "part")]),
    "name_column": st.sampled_from([None, "name"]),
    "id_column": st.sampled_from([None, "id", "sku"]),
    "overlap": st.sampled_from([None, 2, 2 * HOUR + 2]),
    "name": st.sampled_from(["Items", "Things"]),
}
CREDENTIALS = st.fixed_dictionaries(
    {"database": st.sampled_from(["north", "south"]), "password": st.sampled_from(["one", "two"])}
)


@dataclass(frozen=True)
class Order:
    """A connector that is asked for."""

    settings: dict[str, Any]
    credentials: dict[str, str]
    batch_size: int

    def as_told(self) -> dict[str, Any]:
        fixed = {"connector_type": "shelf", "connection_config": self.credentials, "batch_size": self.batch_size}
        return fixed | told(self.settings)


# New settings and new credentials, one of each at most.
CHANGES = st.one_of(
    *(st.tuples(st.fixed_dictionaries({name: values}), st.none()) for name, values in SETTINGS.items()),
    st.tuples(st.just({}), CREDENTIALS),
)
CONNECTORS = st.builds(Order, st.fixed_dictionaries(SETTINGS), CREDENTIALS, st.integers(1, 3))


def told(given: dict[str, Any]) -> dict[str, Any]:
    """A model's settings as the product is told them."""
    settings = dict(given)
    if "entity_set" in settings:
        settings["vertical"], settings["entity_type"] = settings.pop("entity_set")
    if "query" in settings:
        settings["cursor_column"] = "id" if model.QUERIES[settings["query"]][0] == "id" else None
    return settings


def place(credentials: dict[str, str]) -> bytes:
    """Which database they are for."""
    return credentials["database"].encode()
