"""Bodies, keys and ids of requests as they arrive on a socket."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from qanatix_api import bodies
from qanatix_pipelines.settings import Settings
from tests.conftest import ENCRYPTION_KEY, PEPPER
from tests.served import Served, served

CANARY = "hunter2-canary"
CONNECTORS = "/api/v1/connectors"
LIMIT = 64 * 1024
TAKEN = "The body must be JSON in UTF-8, sent as application/json and not compressed."


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("api")
    settings = Settings(
        data_dir=folder,
        encryption_key=ENCRYPTION_KEY,
        pepper=PEPPER,
        reads_per_minute=100_000,
        writes_per_minute=100_000,
        failed_keys_per_minute=100_000,
    )
    with served(settings) as running:
        yield running


@pytest.fixture
def client(api: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=api.url, headers=api.headers) as opened:
        yield opened


def post(client: httpx2.Client, body: bytes | Iterator[bytes], **headers: str) -> httpx2.Response:
    given = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(CONNECTORS, content=body, headers=given)


class TestLength:
    def test_a_body_at_the_limit_is_read(self, client: httpx2.Client) -> None:
        assert post(client, b'{"name":"' + b"x" * (LIMIT - 11) + b'"}').status_code == 422

    def test_a_longer_one_is_too_long(self, client: httpx2.Client) -> None:
        response = post(client, b'{"name":"' + b"x" * (LIMIT - 10) + b'"}')

        assert (response.status_code, response.json()["detail"]) == (
            413,
            "The body must not be longer than 65536 bytes.",
        )

    def test_length_is_counted_where_none_was_said(self, client: httpx2.Client) -> None:
        assert post(client, iter([b"x" * 1000] * 70)).status_code == 413

    def test_a_body_without_an_end_is_answered(self, api: Served) -> None:
        with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
            connection.sendall(head(api, "Transfer-Encoding: chunked"))
            for _ in range(70):
                connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")

            assert connection.recv(1024).startswith(b"HTTP/1.1 413 ")

    def test_a_body_that_does_not_arrive_is_given_up(self, api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bodies, "ARRIVAL_SECONDS", 0.1)
        with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
            connection.sendall(head(api, "Content-Length: 100") + b'{"name":')

            assert connection.recv(1024).startswith(b"HTTP/1.1 408 ")

    def test_a_caller_that_goes_away_halfway_leaves_no_fault(
        self, api: Served, client: httpx2.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
            connection.sendall(head(api, "Content-Length: 100") + b'{"name":')

        assert client.get(CONNECTORS).status_code == 200
        assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


class TestForm:
    @pytest.mark.parametrize("body", [b"", b"{", b"hello", b"\xff", b'{"name": "\xff"}', b"\xef\xbb\xbf{}"])
    def test_what_is_no_json_in_utf_8_is_refused(self, client: httpx2.Client, body: bytes) -> None:
        assert post(client, body).status_code == (400 if body else 422)

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
    def test_another_encoding_is_refused(self, client: httpx2.Client, encoding: str) -> None:
        response = post(client, '{"name": "x"}'.encode(encoding))

        assert (response.status_code, response.json()["detail"]) == (415, TAKEN)

    @pytest.mark.parametrize(
        "header",
        [
            {"Content_Type": "text/plain"},
            {"Content_Type": "application/x-www-form-urlencoded"},
            {"Content_Type": "application/json; charset=utf-16"},
            {"Content_Type": "application/jsonp"},
            {"Content_Type": "application/merge-patch+json"},
            {"Content_Type": "application/json, text/plain"},
            {"Content_Encoding": "gzip"},
            {"Content_Encoding": "br"},
        ],
    )
    def test_another_type_and_compression_are_refused(self, client: httpx2.Client, header: dict[str, str]) -> None:
        response = post(client, b"{}", **header)

        assert (response.status_code, response.json()["detail"]) == (415, TAKEN)

    @pytest.mark.parametrize(
        "header",
        [
            {"Content_Type": "application/json;charset=UTF-8"},
            {"Content_Type": 'Application/JSON; charset="utf-8"'},
            {"Content_Encoding": "identity"},
        ],
    )
    def test_json_in_utf_8_may_be_said_at_length(self, client: httpx2.Client, header: dict[str, str]) -> None:
        assert post(client, b"{}", **header).status_code == 422

    def test_what_json_allows_and_databases_do_not_is_told_with_its_place(self, client: httpx2.Client) -> None:
        response = post(client, json.dumps({"connection_config": {"dsn": [f"{CANARY}\x00"]}}).encode())

        assert response.status_code == 422
        assert response.json()["detail"] == [
            {
                "loc": ["body", "connection_config", "dsn", 0],
                "msg": "must not hold NUL characters or lone surrogates",
                "type": "json",
            }
        ]

    def test_a_name_that_could_be_anything_is_not_repeated(self, client: httpx2.Client) -> None:
        response = post(client, json.dumps({f"postgresql://a:{CANARY}@b": 1, "connection_config": {}}).encode())

        assert ["body", "..."] in [problem["loc"] for problem in response.json()["detail"]]
        assert CANARY not in response.text

    @pytest.mark.parametrize("body", [b"null", b" null\n"])
    def test_a_null_is_no_body(self, client: httpx2.Client, body: bytes) -> None:
        response = post(client, body)

        assert response.status_code == 422
        assert response.json()["detail"][0]["msg"] == "must not be null: leave the body out where none is needed"

    def test_a_change_may_be_sent_as_a_merge_patch(self, client: httpx2.Client) -> None:
        body = {
            "name": "Products",
            "connector_type": "postgresql",
            "vertical": "shop",
            "entity_type": "product",
            "connection_config": {"dsn": "postgresql://reader:x@db.internal/shop"},
            "query": "SELECT 1 AS id",
            "name_column": "name",
        }
        path = f"{CONNECTORS}/{client.post(CONNECTORS, json=body).json()['id']}"
        headers = {"Content-Type": "application/merge-patch+json; charset=utf-8"}

        changed = client.patch(path, content=b'{"name_column": null}', headers=headers)

        assert (changed.status_code, changed.json()["name_column"]) == (200, None)
        assert client.patch(path, content=b"{}", headers={"Content-Type": "application/json-patch+json"}).is_error


class TestKeys:
    def test_without_a_key_the_body_is_not_read(self, api: Served) -> None:
        """Who waits for leave to send it is not given it."""
        with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
            head = f"POST {CONNECTORS} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            connection.sendall(head.encode())

            assert connection.recv(1024).startswith(b"HTTP/1.1 401 ")

    def test_an_unknown_path_needs_a_key_too(self, api: Served) -> None:
        assert httpx2.get(f"{api.url}/api/v1/nothing").status_code == 401
        assert httpx2.get(f"{api.url}/api/v1/nothing", headers=api.headers).status_code == 404

    @pytest.mark.parametrize("header", ["Bearer", "Bearer x y", "bearer \xff", "Bearer sk_live_\u00b2" + "0" * 63, ","])
    def test_a_header_that_is_no_key_is_unauthorized(self, api: Served, header: str) -> None:
        headers = {"Authorization": header.encode("latin-1")}

        assert httpx2.get(f"{api.url}{CONNECTORS}", headers=headers).status_code == 401

    def test_two_keys_are_none(self, api: Served) -> None:
        headers = [("Authorization", f"Bearer {api.key}")] * 2

        assert httpx2.get(f"{api.url}{CONNECTORS}", headers=headers).status_code == 401

    def test_the_schemes_name_may_be_written_in_any_case(self, api: Served) -> None:
        assert httpx2.get(f"{api.url}{CONNECTORS}", headers={"Authorization": f"bEARER {api.key}"}).status_code == 200


class TestAddresses:
    @pytest.mark.parametrize(
        "part", ["%00", "%ff", "%ff%fe", "..", "%2e%2e", "%2F", "%0d%0aX: y", "%", "%zz", "\xff", "a" * 9000]
    )
    @pytest.mark.parametrize("path", [f"{CONNECTORS}/{{}}", "/api/v1/entities/{}", f"{CONNECTORS}/{{}}/pull"])
    def test_a_path_that_names_nothing_is_not_found(self, api: Served, path: str, part: str) -> None:
        assert status(api, "GET", path.format(part)) in (400, 404, 405)
        assert status(api, "DELETE", path.format(part)) in (400, 404, 405)

    @pytest.mark.parametrize("value", ["%00", "%ff", "%ed%a0%80", "%", "\xff", "%u0000", "a" * 9000])
    @pytest.mark.parametrize("name", ["vertical", "entity_type", "limit", "cursor"])
    def test_a_query_that_asks_for_nothing_is_refused(self, api: Served, name: str, value: str) -> None:
        assert status(api, "GET", f"/api/v1/entities?{name}={value}") in (400, 422)

    @pytest.mark.parametrize("query", ["%ff=%ff", "%00", "&&&="])
    def test_a_query_that_asks_for_nothing_known_is_refused(self, api: Served, query: str) -> None:
        assert status(api, "GET", f"/api/v1/entities?{query}") == 422

    def test_a_parameter_that_is_given_twice_is_refused(self, api: Served) -> None:
        assert status(api, "GET", "/api/v1/entities?limit=1&limit=2") == 422


def head(api: Served, header: str) -> bytes:
    """The head of a request to register a connector."""
    return (
        f"POST {CONNECTORS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
        f"Content-Type: application/json\r\n{header}\r\n\r\n"
    ).encode()


def status(api: Served, method: str, target: str) -> int:
    """What is answered to a target that is sent as it stands, byte for byte."""
    with socket.create_connection(("127.0.0.1", api.port), timeout=20) as connection:
        connection.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode("latin-1")
        )
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        answer.read()
        return answer.status
