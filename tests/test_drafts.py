"""Drafts: what is asked of a run and what it answers, encrypted, for ten minutes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from qanatix_pipelines.conflicts import DryRunInProgress
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import CredentialsUnreadable, NotFound
from qanatix_pipelines.settings import new_fernet_key
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.drafts import LIFETIME, DraftStore
from qanatix_pipelines.store.opening import Store
from qanatix_pipelines.store.rotation import Rotated, rotate
from qanatix_pipelines.tenants import Tenant
from tests.conftest import ENCRYPTION_KEY

ACME = Tenant("acme")
ASKED = {"connector": {"connection_config": {"dsn": "postgresql://me:hunter2@db/shop"}}, "rows": 10}
ANSWER = {"result": {"sample": [{"name": "Bolt"}]}}


def row(store: Store) -> dict[str, Any]:
    with store.engine.connect() as connection:
        return dict(connection.execute(sa.select(tables.draft)).mappings().one())


def change(store: Store, **values: Any) -> None:
    with store.engine.begin() as transaction:
        transaction.execute(tables.draft.update().values(**values))


def count(store: Store) -> int:
    with store.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(tables.draft)).scalar_one())


def test_what_is_asked_is_taken_and_the_answer_stays_until_it_is_dropped(store: Store) -> None:
    connector_id = uuid4()
    draft_id = store.drafts.add("test", ASKED, connector_id)

    taken = store.drafts.take(draft_id)
    before = store.drafts.answered(draft_id)
    store.drafts.answer(draft_id, ANSWER)

    assert (taken.kind, taken.connector_id, taken.asked, before) == ("test", connector_id, ASKED, None)
    assert "hunter2" not in repr(taken)
    assert [store.drafts.answered(draft_id), store.drafts.answered(draft_id)] == [ANSWER, ANSWER]
    store.drafts.drop(draft_id)
    assert count(store) == 0
    with pytest.raises(NotFound):
        store.drafts.answered(draft_id)


def test_an_answer_is_given_to_a_draft_once(store: Store) -> None:
    draft_id = store.drafts.add("test", ASKED)
    store.drafts.answer(draft_id, ANSWER)

    with pytest.raises(NotFound):
        store.drafts.answer(draft_id, {"result": "another"})

    assert store.drafts.answered(draft_id) == ANSWER


def test_of_many_dry_runs_of_a_connector_that_begin_at_once_one_does(store: Store) -> None:
    connector_id = uuid4()
    together = Barrier(8)

    def begin(_n: int) -> UUID:
        together.wait(60)
        try:
            return store.drafts.add("dry_run", {}, connector_id)
        except DryRunInProgress as error:
            return error.dry_run_id

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(begin, range(8)))

    assert len(found) == count(store) == 1


def test_the_next_dry_run_begins_once_one_is_answered_deleted_or_over(store: Store) -> None:
    connector_id = uuid4()
    answered = store.drafts.add("dry_run", {}, connector_id)
    store.drafts.answer(answered, ANSWER)
    store.drafts.drop(store.drafts.add("dry_run", {}, connector_id))
    store.drafts.add("dry_run", {}, connector_id)
    change(store, expires_at=now() - timedelta(seconds=1))

    store.drafts.add("dry_run", {}, connector_id)
    store.drafts.add("dry_run", {}, uuid4())
    store.drafts.add("test", ASKED, connector_id)
    with pytest.raises(DryRunInProgress, match=str(connector_id)):
        store.drafts.add("dry_run", {}, connector_id)


def test_neither_what_is_asked_nor_the_answer_can_be_read_in_the_store(store: Store) -> None:
    draft_id = store.drafts.add("test", ASKED)
    store.drafts.answer(draft_id, ANSWER)

    assert {word for word in ("hunter2", "Bolt", "sample") if word in repr(row(store))} == set()


OVER: dict[str, Callable[[DraftStore, UUID], object]] = {
    "take": lambda drafts, draft_id: drafts.take(draft_id),
    "answer": lambda drafts, draft_id: drafts.answer(draft_id, ANSWER),
    "answered": lambda drafts, draft_id: drafts.answered(draft_id),
}


@pytest.mark.parametrize("act", OVER.values(), ids=OVER)
def test_another_tenants_draft_is_as_if_it_did_not_exist(
    store: Store, act: Callable[[DraftStore, UUID], object]
) -> None:
    draft_id = store.drafts.add("test", ASKED)

    with pytest.raises(NotFound):
        act(store.drafts.of(ACME), draft_id)
    store.drafts.of(ACME).drop(draft_id)

    assert store.drafts.take(draft_id).asked == ASKED
    assert store.tenants.of_draft(draft_id) == store.drafts.tenant


@pytest.mark.parametrize("moved", ["another tenant", "another draft", "another column"])
def test_a_token_that_was_moved_is_refused(store: Store, moved: str) -> None:
    draft_id = store.drafts.add("test", ASKED)
    drafts = store.drafts
    if moved == "another tenant":
        change(store, tenant=ACME)
        drafts = drafts.of(ACME)
    elif moved == "another draft":
        change(store, id=(draft_id := uuid4()))
    else:
        change(store, answer=row(store)["asked"])

    with pytest.raises(CredentialsUnreadable):
        drafts.answered(draft_id) if moved == "another column" else drafts.take(draft_id)


def test_a_connectors_credentials_are_no_draft(store: Store) -> None:
    draft_id = store.drafts.add("test", ASKED)
    token = CredentialCipher([ENCRYPTION_KEY]).encrypt(store.drafts.tenant, draft_id, {"dsn": "x"})
    change(store, asked=token)

    with pytest.raises(CredentialsUnreadable):
        store.drafts.take(draft_id)


@pytest.mark.parametrize("act", OVER.values(), ids=OVER)
def test_after_ten_minutes_a_draft_is_over(store: Store, act: Callable[[DraftStore, UUID], object]) -> None:
    draft_id = store.drafts.add("test", ASKED)
    assert row(store)["expires_at"] - row(store)["created_at"] == LIFETIME == timedelta(minutes=10)
    change(store, expires_at=now() - timedelta(seconds=1))

    with pytest.raises(NotFound):
        act(store.drafts, draft_id)


def test_what_is_over_is_swept_whosever_it_is_and_the_rest_stays(store: Store) -> None:
    store.drafts.of(ACME).add("test", ASKED)
    change(store, expires_at=now() - timedelta(seconds=1))
    kept = store.drafts.add("dry_run", {})  # which sweeps
    assert count(store) == 1

    store.drafts.sweep()

    assert store.drafts.take(kept).kind == "dry_run"
    change(store, expires_at=now() - timedelta(seconds=1))
    store.drafts.sweep()
    assert count(store) == 0


def test_a_rotation_leaves_drafts_alone_and_one_without_its_key_cannot_be_read(store: Store) -> None:
    key = new_fernet_key()
    draft_id = store.drafts.add("test", ASKED)

    rotated = rotate(store.engine, CredentialCipher([key, ENCRYPTION_KEY]))

    assert rotated == Rotated(0, (), ())
    later = DraftStore(store.engine, CredentialCipher([key]), store.connectors.erasure, store.drafts.tenant)
    with pytest.raises(CredentialsUnreadable):
        later.take(draft_id)
    later.answer(draft_id, ANSWER)
    assert later.answered(draft_id) == ANSWER


@pytest.mark.parametrize("store_kind", ["sqlite"])
def test_what_was_deleted_is_in_none_of_sqlites_files(store: Store, tmp_path: Path) -> None:
    draft_id = store.drafts.add("test", ASKED | {"long": "x" * 20_000})
    store.drafts.answer(draft_id, ANSWER)
    kept = row(store)
    tokens = [kept["asked"][-60:].encode(), kept["answer"][-60:].encode()]
    store.drafts.drop(draft_id)
    assert store.connectors.erasure.wait(30)

    content = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())

    assert [token for token in tokens if token in content] == []
