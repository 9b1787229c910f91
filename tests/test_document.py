"""The OpenAPI document: the rules of the linter spectral:oas that concern it, and that it says what is so."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from qanatix_api.app import create_app
from qanatix_api.examples import EXAMPLES
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import connector_types
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.test_errors_page import CODES, OTHERS

SCHEMAS = "#/components/schemas/"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("api")
    app = create_app(
        Settings(
            data_dir=folder, encryption_key=ENCRYPTION_KEY, pepper=PEPPER, public_url="https://shop.example.net/q/"
        )
    )
    published: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return published


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["operationId"]: one for methods in document["paths"].values() for one in methods.values()}


def nodes(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every object in the document, and the way there."""
    if isinstance(value, dict):
        yield place, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from nodes(part, (*place, name))


def faults(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """What `schema` finds wrong with a value."""
    whole = schema | {"components": document["components"]}
    return [error.message for error in jsonschema_rs.validator_for(whole).iter_errors(value)]


class TestRules:
    def test_it_says_who_is_asked_under_which_licence_and_where_it_is(self, document: dict[str, Any]) -> None:
        assert {"title", "version", "summary", "description", "contact", "license"} <= document["info"].keys()
        assert [server["url"] for server in document["servers"]] == ["/", "https://shop.example.net/q"]

    def test_every_operation_has_a_name_a_summary_a_description_and_a_tag_that_is_described(
        self, document: dict[str, Any]
    ) -> None:
        described = {tag["name"] for tag in document["tags"] if tag["description"]}
        operations = [one for methods in document["paths"].values() for one in methods.values()]
        names = [one["operationId"] for one in operations]

        lacking = [
            one["operationId"]
            for one in operations
            if not one.get("summary") or not one.get("description") or set(one["tags"]) - described
        ]
        assert lacking == []
        assert len(set(names)) == len(names)
        assert {"create_connector", "test_connector", "test_unsaved_connector", "check_health"} <= set(names)

    def test_scopes_stand_beside_the_key_and_not_in_it(self, operations: dict[str, dict[str, Any]]) -> None:
        """For a linter, scopes of anything but OAuth are undeclared ones."""
        assert [
            scopes
            for one in operations.values()
            for key in one.get("security", ())
            for scopes in key.values()
            if scopes
        ] == []
        assert operations["pull_connector"]["x-required-scopes"] == ["pulls:run"]
        assert (
            operations["pull_connector"]["responses"]["403"]["description"]
            == "The API key lacks the scope `pulls:run`."
        )

    def test_every_parameter_in_a_path_is_declared(self, document: dict[str, Any]) -> None:
        for path, methods in document["paths"].items():
            named = {part[1:-1] for part in path.split("/") if part.startswith("{")}
            for operation in methods.values():
                declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
                assert declared == named

    def test_no_component_is_unused(self, document: dict[str, Any]) -> None:
        used = {node["$ref"] for _, node in nodes(document) if isinstance(node.get("$ref"), str)}
        kept = {
            f"#/components/{kind}/{name}"
            for kind, components in document["components"].items()
            for name in components
            if kind != "securitySchemes"
        }

        assert sorted(kept - used) == []

    def test_every_example_and_default_fits_its_schema(self, document: dict[str, Any]) -> None:
        wrong = []
        for place, node in nodes(document):
            schema = node.get("schema", node)
            values = (
                [example["value"] for example in node["examples"].values()]
                if "schema" in node and isinstance(node.get("examples"), dict)
                else []
            )
            if isinstance(node.get("examples"), list):
                values += node["examples"]
            if "default" in node and ("type" in node or "anyOf" in node or "$ref" in node):
                values.append(node["default"])
            wrong += [(place, value, fault) for value in values for fault in faults(document, schema, value)]

        assert wrong == []

    def test_every_list_of_values_is_of_one_type(self, document: dict[str, Any]) -> None:
        kinds = {"string": str, "integer": int}
        wrong = [
            place
            for place, node in nodes(document)
            if isinstance(node.get("enum"), list)
            and not all(isinstance(value, kinds[node["type"]]) for value in node["enum"])
        ]

        assert wrong == []


class TestRequests:
    def test_a_connection_config_is_that_of_the_connector_type(self, document: dict[str, Any]) -> None:
        request = document["components"]["schemas"]["ConnectorRequest"]

        assert request["discriminator"]["propertyName"] == "connector_type"
        assert sorted(request["discriminator"]["mapping"]) == sorted(connector_types())
        for kind, example in EXAMPLES.items():
            body = example["value"]
            assert faults(document, request, body) == []
            for other in set(connector_types()) - {kind}:
                assert faults(document, request, body | {"connector_type": other}) != [], (kind, other)

    @pytest.mark.parametrize(
        ("change", "taken"),
        [
            ({}, True),
            ({"name_column": None, "id_column": None, "cursor_column": None}, True),
            ({"schedule": None, "watch": None, "overlap": None}, True),
            ({"connection_config": "***REDACTED***"}, True),
            ({"connection_config": {"dsn": "postgresql://a@b/c"}}, True),
            ({"batch_size": 1}, True),
            ({"name": None}, False),
            ({"query": None}, False),
            ({"query": ""}, False),
            ({"vertical": None}, False),
            ({"vertical": "a/b"}, False),
            ({"batch_size": None}, False),
            ({"batch_size": 0}, False),
            ({"overlap": -1}, False),
            ({"connection_config": None}, False),
            ({"connection_config": {"dsn": "x", "passfile": "y"}}, False),
            ({"connector_type": "mysql"}, False),
        ],
    )
    def test_a_change_is_shown_as_it_is_taken(
        self, document: dict[str, Any], change: dict[str, Any], *, taken: bool
    ) -> None:
        changes = document["components"]["schemas"]["ConnectorChanges"]

        assert (faults(document, changes, change) == []) is taken

    def test_no_parameter_is_a_null_and_no_header_a_list(self, operations: dict[str, dict[str, Any]]) -> None:
        """Generators leave an operation out that has a list in a header."""
        parameters = [one for operation in operations.values() for one in operation.get("parameters", ())]

        assert [one for one in parameters if {"type": "null"} in one["schema"].get("anyOf", ())] == []
        assert [one for one in parameters if one["in"] == "header" and one["schema"]["type"] != "string"] == []

    def test_every_post_may_say_an_idempotency_key(self, document: dict[str, Any]) -> None:
        lacking = [
            path
            for path, methods in document["paths"].items()
            if "post" in methods
            and "Idempotency-Key" not in [one["name"] for one in methods["post"].get("parameters", ())]
        ]

        assert lacking == []

    def test_a_body_that_may_be_left_out_is_no_null(self, operations: dict[str, dict[str, Any]]) -> None:
        """Generated clients send what they cannot write, if it may be a null."""
        for name, schema in (("pull_connector", "PullRequest"), ("rotate_key", "Rotation")):
            body = operations[name]["requestBody"]
            assert body["content"]["application/json"]["schema"]["$ref"] == f"{SCHEMAS}{schema}"
            assert not body.get("required")


class TestAnswers:
    def test_every_error_is_a_problem_with_the_headers_that_it_has(self, operations: dict[str, dict[str, Any]]) -> None:
        for name, operation in operations.items():
            for status, answer in operation["responses"].items():
                assert "X-Request-Id" in answer["headers"], (name, status)
                assert ("X-RateLimit-Limit" in answer["headers"]) == ("security" in operation), (name, status)
                assert ("Retry-After" in answer["headers"]) >= (status in ("429", "503")), (name, status)
                if int(status) >= 400:
                    assert answer["content"].keys() == {"application/problem+json"}, (name, status)

    def test_the_codes_of_errors_are_listed(self, document: dict[str, Any]) -> None:
        schemas = document["components"]["schemas"]

        assert set(schemas["ErrorCode"]["enum"]) == CODES | OTHERS.keys()
        for name in ("Problem", "PullProblem", "PullFailure", "WatchError"):
            assert schemas[name]["properties"]["code"]["$ref"] == f"{SCHEMAS}ErrorCode"
