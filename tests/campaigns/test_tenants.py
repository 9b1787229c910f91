"""Two tenants that are alike in everything: whatever one asks with an id of the other's is as if there were no such id.

What can be asked is read off the API's own document, so that no operation is forgotten.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import permutations
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import httpx2
import psycopg
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from qanatix_api.app import create_app
from qanatix_api.routes import BASE_PATH
from qanatix_pipelines.connector_tests import run_test
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.dry_run import run_dry_run
from qanatix_pipelines.egress import DEVELOPMENT
from qanatix_pipelines.errors import PullError
from qanatix_pipelines.keys import Scope, new_key
from qanatix_pipelines.naming import DRAFT_TAG, PULL_TAG
from qanatix_pipelines.pull import run_pull
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.keys import KeyStore
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.tenants import DEFAULT, Tenant
from tests.campaigns.conftest import DEEP
from tests.fakes import FakeDagster
from tests.kept import entities

ACME = Tenant("acme")
ROWS = 12
TIMINGS = 5_000 if DEEP else 100
# What all tenants are told of theirs.
LISTS = ("/connectors", "/pulls", "/entities", "/records", "/collections", "/auth/keys")

MAKING, PUTTING = ("post", "/connectors"), ("put", "/connectors/by-key/{key}")
TESTING = ("post", "/connectors/test")
WHOLE = (MAKING, PUTTING, TESTING)
# Bodies that each operation takes; None for none. Of those of a whole connector it is the world's.
BODIES: dict[tuple[str, str], tuple[dict[str, Any] | None, ...]] = {
    ("get", "/connectors"): (None,),
    ("get", "/connectors/{connector_id}"): (None,),
    PUTTING: ({},),
    ("get", "/connectors/by-key/{key}"): (None,),
    ("post", "/connectors/{connector_id}/test"): (None,),
    TESTING: ({},),
    ("post", "/connectors/{connector_id}/pull"): (
        None,
        {"full_refresh": False},
        {"full_refresh": True},
        {"limit": 1},
        {"since": "2026-01-01T00:00:00Z"},
        {"dry_run": True},
    ),
    ("get", "/connectors/{connector_id}/dry-runs/{dry_run_id}"): (None,),
    ("delete", "/connectors/{connector_id}/dry-runs/{dry_run_id}"): (None,),
    ("get", "/connectors/{connector_id}/pulls"): (None,),
    ("get", "/connectors/{connector_id}/watermark"): (None,),
    ("put", "/connectors/{connector_id}/watermark"): ({"value": None}, {"value": "2026-01-01T00:00:00Z"}),
    ("get", "/pulls"): (None,),
    ("get", "/pulls/{pull_id}"): (None,),
    ("get", "/pulls/{pull_id}/rejections"): (None,),
    ("post", "/pulls/{pull_id}/cancel"): (None,),
    ("patch", "/connectors/{connector_id}"): (
        {},
        {"name": "Changed"},
        {"query": "SELECT 1 AS id"},
        {"connection_config": {"dsn": "postgresql://me:secret@db.internal/other"}},
        {"schedule": {"cron": "* * * * *"}},
        {"watch": {"query": "SELECT 1"}},
    ),
    ("post", "/connectors/{connector_id}/pause"): (None,),
    ("post", "/connectors/{connector_id}/resume"): (None,),
    ("get", "/entities"): (None,),
    ("get", "/entities/{entity_id}"): (None,),
    ("get", "/records"): (None,),
    ("get", "/records/{record_id}"): (None,),
    ("get", "/collections"): (None,),
    ("get", "/auth/keys"): (None,),
    ("post", "/auth/keys/{key_id}/rotate"): (None, {"grace_seconds": 60}),
    ("post", "/auth/keys"): ({"name": "mine"},),
    # In this order: what is deleted answers nothing any more.
    MAKING: ({},),
    ("delete", "/connectors/{connector_id}"): (None,),
    ("delete", "/auth/keys/{key_id}"): (None,),
}


@dataclass(frozen=True)
class Party:
    """A tenant, and what it calls its own."""

    tenant: Tenant
    headers: dict[str, str]
    key_id: str
    connectors: list[str]
    keys: list[str]
    pulls: list[str]
    runs: list[str]
    entities: list[str]
    dry_runs: list[str]

    @property
    def key_of_connector(self) -> str:
        return f"key-of-{self.tenant}"

    @property
    def ids(self) -> list[str]:
        return self.connectors + self.keys + self.pulls + self.runs + self.entities + self.dry_runs


class World:
    """The API over a store, Dagster's side of it, which pulls from a real source, and a party for each tenant."""

    def __init__(self, api: TestClient, store: Store, dagster: FakeDagster, source: str) -> None:
        self.api, self.store, self.dagster = api, store, dagster
        self.source = source
        self.calls = 0
        self.keys: KeyStore = api.app.state.services.keys  # type: ignore[attr-defined]
        self.parties = [self._party(tenant) for tenant in (DEFAULT, ACME)]

    def connector(self, **fields: str) -> dict[str, Any]:
        """The body of a connector, for all tenants the same but for `fields`."""
        return {
            "name": "Items",
            "connector_type": "postgresql",
            "vertical": "testing",
            "entity_type": "item",
            "connection_config": {"dsn": self.source},
            "query": "SELECT id, name FROM items",
            "name_column": "name",
        } | fields

    def ask(
        self, party: Party, method: str, path: str, body: dict[str, Any] | None = None, **headers: str
    ) -> httpx2.Response:
        """An answer that differs from another only by what was asked."""
        self.calls += 1
        return self.api.request(
            method, f"{BASE_PATH}{path}", json=body, headers=party.headers | {"X-Request-Id": "same"} | headers
        )

    def kept(self) -> dict[str, list[dict[str, Any]]]:
        """All that the store holds, and what Dagster was asked for.

        But for when keys were used, and leases: on SQLite each pull's commit is a sign of every pull's life.
        """
        held: dict[str, list[dict[str, Any]]] = {}
        with self.store.engine.execution_options(reads=True).connect() as connection:
            for table in (
                tables.connector,
                tables.pull,
                tables.rejection,
                tables.api_key,
                tables.draft,
                tables.idempotency,
            ):
                rows = [dict(row) for row in connection.execute(sa.select(table)).mappings()]
                held[table.name] = sorted(
                    ({**row, "last_used_at": None, "lease_until": None} for row in rows), key=repr
                )
            held["entity"] = sorted((dict(row) for row in connection.execute(entities()).mappings()), key=repr)
        held["dagster"] = [*self.dagster.launches, *({name: kind} for kind, name in self.dagster.partitions)]
        return held

    def of(self, party: Party) -> dict[str, list[dict[str, Any]]]:
        """What the store holds of one tenant."""
        return {name: [row for row in rows if row.get("tenant") == party.tenant] for name, rows in self.kept().items()}

    def _party(self, tenant: Tenant) -> Party:
        key = self.keys.of(tenant).create("Key", frozenset(Scope))
        party = Party(tenant, {"Authorization": f"Bearer {key.text}"}, key.id, [], [key.id], [], [], [], [])
        own = f"SELECT '{tenant}-' || id AS id, name FROM items"
        for body in (self.connector(), self.connector(entity_type="own", query=own)):
            made = self.ask(party, "POST", "/connectors", body)
            pulled = self.ask(party, "POST", f"/connectors/{made.json()['id']}/pull")
            assert (made.status_code, pulled.json()["records_ingested"]) == (201, ROWS), pulled.text
            party.connectors.append(made.json()["id"])
            party.pulls.append(pulled.json()["pull_id"])
            party.runs.append(pulled.json()["run_id"])
        keyed = self.connector(entity_type="live", key=party.key_of_connector)
        idle = self.ask(party, "POST", "/connectors", keyed).json()["id"]
        running = self.store.of(tenant).pulls.begin(
            self.store.of(tenant).connectors.get(UUID(idle)), f"run of {tenant}"
        )
        party.connectors.append(idle)
        party.pulls.append(str(running.id))
        party.keys.append(self.ask(party, "POST", "/auth/keys", {"name": "Key"}).json()["id"])
        page = self.ask(party, "GET", "/entities?limit=100").json()
        party.entities.extend(entity["id"] for entity in page["items"])
        assert (len(party.entities), page["has_more"]) == (2 * ROWS, False)
        drafts = self.store.of(tenant).drafts
        party.dry_runs.append(str(drafts.add("dry_run", {}, UUID(party.connectors[1]))))
        return party


@pytest.fixture
def world(settings: Settings, store: Store, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    # Nothing that was registered is forgotten while it is watched for changes.
    monkeypatch.setattr("qanatix_pipelines.store.answers.ALIKE_FOR", timedelta(days=1))
    with psycopg.connect(database) as source:
        source.execute("CREATE TABLE items (id int, name text)")
        source.execute("INSERT INTO items SELECT n, 'Item ' || n FROM generate_series(1, %s) n", [ROWS])
        source.execute("INSERT INTO items VALUES (1000, NULL)")  # which each pull rejects

    def run(tags: dict[str, str]) -> str:
        run_id = str(uuid4())
        ours = store.of(store.tenants.of_partition(tags["dagster/partition"]))
        connector = ours.connectors.by_partition(tags["dagster/partition"])
        receipt = ours.pulls.claim(UUID(tags[PULL_TAG]), connector, run_id)
        run_pull(ours, connector, receipt, partial(open_source, connector.connector_type))
        return run_id

    def look(tags: dict[str, str]) -> str:
        draft_id = UUID(tags[DRAFT_TAG])
        ours = store.of(store.tenants.of_draft(draft_id))
        draft = ours.drafts.take(draft_id)
        if draft.connector_id is None:
            asked = NewConnector.model_validate(draft.asked["connector"])
            connector: NewConnector | Connector = asked
            config = asked.connection_config
        else:
            connector = ours.connectors.get(draft.connector_id)
            config = ours.connectors.connection_config(connector)
        if draft.kind == "dry_run":
            assert isinstance(connector, Connector)
            opened = partial(open_source, connector.connector_type)
            try:
                answer = {"result": run_dry_run(ours, connector, opened).model_dump(mode="json")}
            except PullError as error:
                answer = {"error": {"code": error.code, "detail": str(error)}}
            ours.drafts.answer(draft_id, answer)
            return str(uuid4())
        tested = run_test(connector, config, partial(open_source, connector.connector_type), DEVELOPMENT)
        ours.drafts.answer(draft_id, {"result": tested.model_dump(mode="json")})
        return str(uuid4())

    dagster = FakeDagster(run)
    dagster.on_look = look
    often = dict.fromkeys(("reads_per_minute", "writes_per_minute", "pulls_per_minute"), 1_000_000)
    given = settings.model_copy(update={"dagster_url": dagster.url, "pull_wait_seconds": 60, **often})
    with TestClient(create_app(given)) as api:
        yield World(api, store, dagster, database)
    dagster.stop()


@pytest.mark.timeout(600)
def test_no_operation_crosses_from_one_tenant_to_another(world: World, figures: Callable[[str], None]) -> None:
    operations = {
        (method, path.removeprefix(BASE_PATH))
        for path, methods in world.api.app.openapi()["paths"].items()  # type: ignore[attr-defined]
        for method in methods
        if path.startswith(BASE_PATH)
    }
    assert operations == set(BODIES)
    crossings: list[str] = []
    foreign = 0
    for caller, owner in permutations(world.parties, 2):
        before = world.kept()
        shared = set(caller.ids) & set(owner.ids)
        assert shared == set(caller.entities) & set(owner.entities)
        assert len(shared) == ROWS  # the rows of one source's key, in sets of one name
        for (method, path), bodies in BODIES.items():
            if "{" not in path:
                continue
            for given in bodies:
                body, headers = given, {}
                if (method, path) == PUTTING:  # which registers what is not there, unless that must be
                    body, headers = world.connector(), {"If-Match": "*"}
                nothing = world.ask(caller, method, _with(path, _nobodys(path), str(uuid4())), body, **headers)
                assert nothing.status_code == (412 if headers else 404)
                for other in [*owner.ids, owner.key_of_connector]:
                    answer = world.ask(caller, method, _with(path, other, owner.dry_runs[0]), body, **headers)
                    foreign += 1
                    if other in shared and path in {"/entities/{entity_id}", "/records/{record_id}"}:
                        as_it_must = answer.status_code == 200 and answer.json()["tenant_id"] == caller.tenant
                    else:
                        as_it_must = _told(answer) == _told(nothing)
                    if not as_it_must:
                        crossings.append(f"{caller.tenant}: {method} {path} {body} with {other}: {answer.text}")
                if (after := world.kept()) != before:
                    told = {name: [row for row in after[name] if row not in before[name]] for name in after}
                    gone = {name: [row for row in before[name] if row not in after[name]] for name in after}
                    crossings.append(f"{caller.tenant}: {method} {path} {body} makes {told} of {gone}")
                    before = after
        crossings += _lists(world, caller, owner)

    milliseconds = _timings(world)
    figures(
        f"tenants: {len(operations)} operations, {foreign} calls with another's ids, {world.calls} calls, "
        f"{len(crossings)} crossings; a 404 for another's id after {milliseconds[0]:.3f} ms, for nobody's after "
        f"{milliseconds[1]:.3f} ms (medians of {TIMINGS})"
    )
    assert crossings == []
    assert foreign > 500


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_dry_run_is_found_only_by_its_own_connector_and_tenant(world: World, method: str) -> None:
    path = "/connectors/{}/dry-runs/{}"
    for caller, owner in permutations(world.parties, 2):
        (_, own, _), (_, others, _) = caller.connectors, owner.connectors
        gone, unknown = (world.ask(caller, method, path.format(one, uuid4())) for one in (own, uuid4()))
        before = world.kept()

        answers = [
            world.ask(caller, method, path.format(*pair))
            for pair in (
                (own, owner.dry_runs[0]),
                (caller.connectors[0], caller.dry_runs[0]),
                (others, caller.dry_runs[0]),
                (others, owner.dry_runs[0]),
            )
        ]

        assert [_told(answer) for answer in answers] == [_told(gone)] * 2 + [_told(unknown)] * 2
        assert world.kept() == before
        assert world.ask(caller, method, path.format(own, caller.dry_runs[0])).is_success


@pytest.mark.timeout(600)
def test_what_a_tenant_does_with_its_own_leaves_the_others_as_they_are(world: World) -> None:
    for caller, owner in permutations(world.parties, 2):
        others = world.of(owner)
        hidden = set(owner.ids) - set(caller.ids)
        for (method, path), bodies in BODIES.items():
            own = {
                "connector_id": caller.connectors[1],
                "entity_id": caller.entities[0],
                "key_id": caller.keys[1],
                "pull_id": caller.pulls[0],
                "record_id": caller.entities[0],
                "key": caller.key_of_connector,
                "dry_run_id": caller.dry_runs[0],
            }
            for body in bodies:
                given = world.connector(entity_type="more") if (method, path) in WHOLE else body
                answer = world.ask(caller, method, path.format(**own), given)
                # A pull whose query or database was changed just before fails; that is its caller's own business.
                assert answer.status_code < 500
                assert answer.status_code != 404
                assert [one for one in hidden if one in answer.text] == []
                assert world.of(owner) == others


@pytest.mark.timeout(600)
def test_no_request_says_whose_it_is(world: World) -> None:
    caller, owner = world.parties
    own = {"connector_id": caller.connectors[0], "key_id": caller.keys[1], "pull_id": caller.pulls[0], "key": "mine"}
    before = world.kept()
    answers = [
        world.ask(caller, method, path.format(**own), given | {field: owner.tenant})
        for (method, path), bodies in BODIES.items()
        for given in (world.connector() if (method, path) in WHOLE else body for body in bodies)
        if given is not None
        for field in ("tenant", "tenant_id")
    ]

    assert len(answers) >= 14
    assert {answer.status_code for answer in answers} == {422}
    for path in LISTS:
        assert (
            world.ask(caller, "GET", path, **{"X-Tenant-Id": owner.tenant}).text == world.ask(caller, "GET", path).text
        )
    assert world.kept() == before


@pytest.mark.timeout(600)
def test_tenants_of_one_source_with_equal_names_have_each_their_own_entities(world: World) -> None:
    one, other = world.parties
    with psycopg.connect(world.source) as source:
        source.execute("UPDATE items SET name = 'Changed' WHERE id <= 3")
        source.execute("INSERT INTO items VALUES (%s, 'New')", [ROWS + 1])
    before = world.of(other)

    pulled = world.ask(one, "POST", f"/connectors/{one.connectors[0]}/pull").json()

    assert (pulled["records_ingested"], pulled["duplicates_skipped"]) == (4, ROWS - 3)
    assert world.of(other) == before
    assert (_names(world, one).count("Changed"), _names(world, other).count("Changed")) == (3, 0)
    pulled = world.ask(other, "POST", f"/connectors/{other.connectors[0]}/pull").json()
    assert (pulled["records_ingested"], pulled["duplicates_skipped"]) == (4, ROWS - 3)
    assert sorted(_names(world, one)) == sorted(_names(world, other))
    assert {row["tenant"] for row in world.kept()["entity"] if row["pull_id"] == UUID(pulled["pull_id"])} == {
        other.tenant
    }


def _lists(world: World, caller: Party, owner: Party) -> list[str]:
    """Where a list shows what is the other's, or not all that is its own."""
    hidden = set(owner.ids) - set(caller.ids)
    shown = {path: world.ask(caller, "GET", path).text for path in LISTS}
    shown["/entities"] = "".join(_pages(world, caller, None))
    cursor = world.ask(owner, "GET", "/entities?limit=5").json()["cursor"]
    shown["another's cursor"] = "".join(_pages(world, caller, cursor))
    wrong = [f"{path} shows {one}" for path, text in shown.items() for one in hidden if one in text]
    own = {
        "/connectors": caller.connectors,
        "/pulls": caller.pulls,
        "/auth/keys": caller.keys,
        "/entities": caller.entities,
    }
    return wrong + [f"{path} lacks {one}" for path, ids in own.items() for one in ids if one not in shown[path]]


def _pages(world: World, caller: Party, cursor: str | None) -> Iterator[str]:
    while True:
        page = world.ask(caller, "GET", "/entities?limit=5" + ("" if cursor is None else f"&cursor={cursor}"))
        assert {entity["tenant_id"] for entity in page.json()["items"]} <= {caller.tenant}
        yield page.text
        cursor = page.json()["cursor"]
        if cursor is None:
            return


def _names(world: World, party: Party) -> list[str]:
    page = world.ask(party, "GET", "/entities?vertical=testing&entity_type=item&limit=100").json()
    return [entity["name"] for entity in page["items"]]


def _timings(world: World) -> tuple[float, float]:
    """The median milliseconds of a 404 for the other's entity, and for nobody's: no proof, on a busy machine."""
    caller, owner = world.parties
    hidden = next(one for one in owner.entities if one not in caller.entities)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(TIMINGS):
        for others, asked in ((True, hidden), (False, str(uuid4()))):
            started = time.perf_counter()
            world.ask(caller, "GET", f"/entities/{asked}")
            seconds[others].append(time.perf_counter() - started)
    return median(seconds[True]) * 1000, median(seconds[False]) * 1000


def _with(path: str, given: str, dry_run: str) -> str:
    path = path.replace("{dry_run_id}", dry_run)
    return path[: path.index("{")] + given + path[path.index("}") + 1 :]


def _nobodys(path: str) -> str:
    return new_key().id if "{key_id}" in path else str(uuid4())


def _told(answer: httpx2.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.text, answer.headers["Content-Type"]
