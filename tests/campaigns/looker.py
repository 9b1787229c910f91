"""A test or a dry run in a process of its own, to be killed, as `victim` is for a pull."""

from dataclasses import dataclass
from multiprocessing.connection import Connection
from uuid import UUID

from qanatix_pipelines.connector_tests import run_test
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.dry_run import run_dry_run
from qanatix_pipelines.egress import DEVELOPMENT
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.drafts import Kind
from qanatix_pipelines.store.opening import Store, open_store
from tests.campaigns.victim import die_at_step, opened


@dataclass(frozen=True)
class Look:
    """One answer to a draft. It dies before or after its `step`th at the store, if it has one."""

    settings: Settings
    draft_id: UUID
    step: int | None = None


def look(life: Look, begun: Connection) -> None:
    """Answer the draft, if it is let."""
    store = open_store(life.settings)
    if life.step is not None:
        die_at_step(life.step, store.engine)
    begun.send_bytes(b".")
    draft = store.drafts.take(life.draft_id)
    assert draft.connector_id is not None
    connector = store.connectors.get(draft.connector_id)
    store.drafts.answer(draft.id, {"result": _found(store, draft.kind, connector)})


def _found(store: Store, kind: Kind, connector: Connector) -> dict[str, object]:
    if kind == "dry_run":
        return run_dry_run(store, connector, lambda config: opened(connector.connector_type, config)).model_dump(
            mode="json", exclude={"duration_seconds"}
        )
    config = store.connectors.connection_config(connector)
    tested = run_test(connector, config, lambda config: opened(connector.connector_type, config), DEVELOPMENT)
    return tested.model_dump(mode="json", exclude={"checks": {"__all__": {"seconds"}}})
