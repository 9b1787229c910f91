"""Dry runs over REST: how one is asked for, waited for, polled and ended."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from qanatix_api.dry_run_table import tables as tables_of
from qanatix_pipelines.comparisons import ChangedEntity, Comparison, FieldChange, RejectedRow
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.errors import SourceUnreachable
from qanatix_pipelines.health import ColumnChange
from qanatix_pipelines.keys import Scope
from qanatix_pipelines.naming import DRAFT_TAG
from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.opening import Store
from tests.fakes import FakeDagster
from tests.system import until
from tests.test_store import NEW

pytestmark = pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
DRY_RUN = {"dry_run": True}
AT_ONCE = {"wait": "false"}
COMPARED = Comparison(
    records_pulled=2847,
    records_ingested=15,
    records_new=12,
    records_changed=3,
    duplicates_skipped=2830,
    records_unchanged=2830,
    keys_repeated=0,
    records_rejected=2,
    rejected_by_reason={Reason.NAME_MISSING: 2},
    warnings=[],
    key_column="id",
    name_column="name",
    column_changes=[
        ColumnChange(name="colour", before=None, after="text"),
        ColumnChange(name="price", before="numeric", after="text"),
    ],
    changed=[
        ChangedEntity(
            id=UUID(int=7),
            source_id="4711",
            name="Copper valve",
            fields=[
                FieldChange(field="colour", before=None, after='"blue"'),
                FieldChange(field="price", before="12.50", after="123456789012345678901234567890.5"),
                FieldChange(field="no\x1b[31m", before=None, after='"red"'),
                FieldChange(field="size", before="null", after="1"),
            ],
            more=1,
        ),
        ChangedEntity(
            id=UUID(int=8),
            source_id=None,
            name=None,
            fields=[FieldChange(field="colour", before=None, after='"green"')],
        ),
    ],
    rejected=[RejectedRow(row=17, key="4712", reason=Reason.NAME_MISSING, column="name")],
    duration_seconds=0.25,
)
Answer = Callable[..., None]


@pytest.fixture
def connector(store: Store) -> Connector:
    return store.connectors.add(NEW)


@pytest.fixture
def answering(store: Store, dagster: FakeDagster) -> Answer:
    """Have each dry run answer at once; or later, by its id, what is given here."""

    def answer(draft_id: str, told: dict[str, Any] | None = None) -> None:
        store.drafts.answer(UUID(draft_id), told or {"result": COMPARED.model_dump(mode="json")})

    def at_once(tags: dict[str, str]) -> str:
        answer(tags[DRAFT_TAG])
        return str(uuid4())

    dagster.on_look = at_once
    return answer


def begun(api: TestClient, connector: Connector, dagster: FakeDagster) -> str:
    """The address of a dry run that goes on."""
    dagster.on_look = lambda _tags: "the run"
    answer = api.post(f"/api/v1/connectors/{connector.id}/pull", params=AT_ONCE, json=DRY_RUN)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "running"
    assert answer.headers["Location"].endswith(answer.json()["dry_run_id"])
    return answer.headers["Location"]


@pytest.mark.usefixtures("answering")
def test_what_a_pull_would_do_is_answered_with_every_digit(api: TestClient, connector: Connector, store: Store) -> None:
    answer = api.post(f"/api/v1/connectors/{connector.id}/pull", json=DRY_RUN)

    told = answer.json()
    assert (answer.status_code, told["status"], told["connector_id"]) == (200, "dry_run", str(connector.id))
    assert {name: told[name] for name in ("records_pulled", "records_new", "records_changed", "records_unchanged")} == {
        "records_pulled": 2847,
        "records_new": 12,
        "records_changed": 3,
        "records_unchanged": 2830,
    }
    assert '"before":12.50,"after":123456789012345678901234567890.5' in answer.text
    assert "before" not in told["changed"][0]["fields"][2]
    assert told["rejected"][0]["detail"] == Reason.NAME_MISSING.sentence
    assert api.get("/api/v1/pulls").json()["items"] == []
    until(lambda: _drafts(store) == 0)


def test_it_is_asked_for_as_a_pull_would_be(
    api: TestClient, connector: Connector, dagster: FakeDagster, store: Store
) -> None:
    asked = {"since": "2026-01-01T00:00:00Z", "limit": 10}

    answer = api.post(f"/api/v1/connectors/{connector.id}/pull", params=AT_ONCE, json=DRY_RUN | asked)

    draft = store.drafts.take(UUID(answer.json()["dry_run_id"]))
    assert (draft.kind, draft.connector_id, draft.asked["limit"]) == ("dry_run", connector.id, 10)
    (launch,) = dagster.launches
    assert "2026" not in json.dumps(launch)


class TestPolled:
    def test_its_answer_is_given_again_to_who_did_not_get_it(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, answering: Answer
    ) -> None:
        where = begun(api, connector, dagster)
        before = api.get(where)
        answering(before.json()["dry_run_id"])

        answers = [api.head(where), api.get(where), api.get(where)]

        assert (before.status_code, before.headers["Location"]) == (202, where)
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[0].content == b""
        assert answers[1].json() == answers[2].json()
        assert answers[1].json()["records_pulled"] == 2847

    def test_what_kept_it_from_answering_is_told(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store
    ) -> None:
        where = begun(api, connector, dagster)
        error = SourceUnreachable("The source could not be reached.")
        store.drafts.answer(UUID(where[-36:]), {"error": {"code": error.code, "detail": str(error)}})

        answers = [api.get(where), api.get(where)]

        assert [answer.status_code for answer in answers] == [424, 424]
        assert answers[0].json()["code"] == "source_unreachable"

    def test_a_run_that_ended_without_an_answer_is_told(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store
    ) -> None:
        where = begun(api, connector, dagster)
        dagster.statuses["the run"] = "FAILURE"

        answers = [api.get(where), api.get(where)]

        assert [answer.status_code for answer in answers] == [500, 500]
        assert answers[0].json()["code"] == "dry_run_lost"
        assert _drafts(store) == 1

    def test_a_second_one_is_refused_and_told_of_the_first(
        self, api: TestClient, connector: Connector, dagster: FakeDagster
    ) -> None:
        where = begun(api, connector, dagster)

        refused = api.post(f"/api/v1/connectors/{connector.id}/pull", json=DRY_RUN)

        assert (refused.status_code, refused.json()["code"]) == (409, "dry_run_in_progress")
        assert where.removeprefix("/api/v1") in refused.json()["detail"]
        assert len(dagster.launches) == 1
        assert api.delete(where).status_code == 204
        begun(api, connector, dagster)

    def test_one_whose_run_has_died_keeps_none_from_beginning(
        self, api: TestClient, connector: Connector, dagster: FakeDagster
    ) -> None:
        begun(api, connector, dagster)
        dagster.statuses["the run"] = "FAILURE"

        begun(api, connector, dagster)

    def test_it_can_be_ended(self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store) -> None:
        where = begun(api, connector, dagster)

        assert [api.delete(where).status_code, api.delete(where).status_code] == [204, 404]
        assert dagster.terminated == ["the run"]
        assert _drafts(store) == 0

    def test_one_that_is_gone_is_told_so_by_its_code(self, api: TestClient, connector: Connector) -> None:
        answer = api.get(f"/api/v1/connectors/{connector.id}/dry-runs/{uuid4()}")

        assert (answer.status_code, answer.json()["code"]) == (404, "dry_run_gone")
        assert answer.json()["detail"] == (
            "There is no such dry run: it was deleted, or its time is over, or it was never there. Ask for it again."
        )

    def test_by_another_connectors_address_it_is_not_there(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store
    ) -> None:
        other = store.connectors.add(NEW)
        where = begun(api, connector, dagster).replace(str(connector.id), str(other.id))

        assert [api.get(where).status_code, api.delete(where).status_code] == [404, 404]
        assert _drafts(store) == 1

    def test_an_answer_is_kept_for_ten_minutes_however_long_it_took(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store, answering: Answer
    ) -> None:
        where = begun(api, connector, dagster)
        assert _left(store) > timedelta(hours=2)

        answering(where[-36:])

        assert timedelta(minutes=9) < _left(store) <= timedelta(minutes=10)


class TestRefused:
    @pytest.mark.parametrize("scope", [Scope.PULLS_RUN, Scope.CONNECTORS_WRITE])
    def test_a_key_needs_both_scopes(
        self, client: Callable[..., TestClient], connector: Connector, dagster: FakeDagster, scope: Scope
    ) -> None:
        answer = client(scope).post(f"/api/v1/connectors/{connector.id}/pull", json=DRY_RUN)

        assert answer.status_code == 403
        assert dagster.launches == []

    def test_where_dagster_is_away_nothing_is_left(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store
    ) -> None:
        dagster.faults = 100

        answer = api.post(f"/api/v1/connectors/{connector.id}/pull", params=AT_ONCE, json=DRY_RUN)

        assert (answer.status_code, answer.json().get("code")) == (503, "dry_run_not_started"), answer.text
        until(lambda: _drafts(store) == 0)

    @pytest.mark.parametrize(
        ("code", "status"), [("dry_run_broken", 500), ("dry_run_not_started", 503), ("store_unavailable", 503)]
    )
    def test_what_keeps_the_run_from_answering_is_told_by_its_code(
        self, api: TestClient, connector: Connector, dagster: FakeDagster, store: Store, code: str, status: int
    ) -> None:
        where = begun(api, connector, dagster)
        store.drafts.answer(UUID(where[-36:]), {"error": {"code": code, "detail": "It is so."}})

        answer = api.get(where)

        assert (answer.status_code, answer.json()["code"]) == (status, code)

    def test_a_connector_that_is_not_there_is_not_tried(self, api: TestClient, dagster: FakeDagster) -> None:
        assert api.post(f"/api/v1/connectors/{uuid4()}/pull", json=DRY_RUN).status_code == 404
        assert dagster.launches == []


@pytest.mark.usefixtures("answering")
def test_a_terminal_shows_it_as_tables(api: TestClient, connector: Connector) -> None:
    answer = api.post(f"/api/v1/connectors/{connector.id}/pull", json=DRY_RUN)

    assert list(tables_of(answer.text)) == [
        "A pull would read 2,847 rows. Nothing was ingested.",
        "  new               12",
        "  changed            3",
        "  unchanged      2,830",
        "  keys repeated      0",
        "  rejected           2  2 name_missing",
        "Columns that differ from the last pull's:",
        "  colour  absent   ->  text",
        "  price   numeric  ->  text",
        "Entities that would change, the first 2 of 3:",
        "  4711  Copper valve",
        "    price       12.50   ->  123456789012345678901234567890.5",
        '    no?[31m     absent  ->  "red"',
        "    size        null    ->  1",
        "    and 1 more",
        "  00000000-0000-0000-0000-000000000008  (only columns that are new or gone)",
        "Rows that would be rejected, the first 1 of 2:",
        "  row 17  4712  name  The column that name_column names is null or blank.",
    ]


def _drafts(store: Store) -> int:
    with store.engine.execution_options(reads=True).connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(tables.draft)).scalar_one())


def _left(store: Store) -> timedelta:
    """How long the draft is kept yet."""
    with store.engine.execution_options(reads=True).connect() as connection:
        expires_at = connection.execute(sa.select(tables.draft.c.expires_at)).scalar_one()
    left: timedelta = expires_at - now()
    return left
