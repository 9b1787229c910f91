"""What a store holds, read off its tables, in the model's terms."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import SecretStr

from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.opening import Store, open_engine, open_store
from tests import kept
from tests.campaigns import model
from tests.campaigns.shelf import BEGINNING


@dataclass(frozen=True)
class Holdings:
    pulls: dict[UUID, model.Pull]  # the lease of one that has ended says nothing, and is 0
    connectors: dict[UUID, tuple[Any, ...]]  # as `shown`
    entities: dict[Any, Any]
    staged: set[UUID]  # the pulls that have something staged
    read: dict[UUID, int]  # by each pull's present attempt


def empty(settings: Settings) -> None:
    engine = open_engine(settings)
    with engine.begin() as transaction:
        for table in tables.metadata.sorted_tables:
            transaction.execute(table.delete())
    engine.dispose()


def opened(settings: Settings, keys: str) -> Store:
    """The store, by a process that has these encryption keys."""
    store = open_store(settings.model_copy(update={"encryption_key": SecretStr(keys)}))
    if store.engine.dialect.name == "sqlite":  # no power is lost here, and disks would take most of the time
        sa.event.listen(store.engine, "checkout", lambda made, *_: made.execute("PRAGMA synchronous = OFF"))
    return store


def holdings(engine: sa.Engine) -> Holdings:
    with engine.execution_options(reads=True).connect() as connection:
        pulls = [Receipt.model_validate(dict(row)) for row in connection.execute(sa.select(tables.pull)).mappings()]
        connectors = connection.execute(sa.select(tables.connector)).all()
        entities = connection.execute(kept.entities()).all()
        staged = kept.staged(connection)
    known = dict(map(_entity, entities))
    assert len(known) == len(entities)
    read = {pull.id: pull.records_read for pull in pulls}
    return Holdings({pull.id: _pull(pull) for pull in pulls}, dict(map(_connector, connectors)), known, staged, read)


def shown(connector: model.Connector) -> tuple[Any, ...]:
    """The model's connector as `Holdings` has it."""
    settings = connector.name, connector.query, connector.entity_set, connector.name_column, connector.id_column
    at = None if connector.watermark is None else connector.watermark_at
    return *settings, connector.overlap, connector.generation, connector.watermark, at


def _pull(kept: Receipt) -> model.Pull:
    return model.Pull(
        connector=kept.connector_id,
        full_refresh=kept.full_refresh,
        part=model.Part(_whole(kept.since), _whole(kept.until), kept.row_limit),
        lease=(kept.lease_until - BEGINNING) // timedelta(seconds=1) if kept.status.live else 0,
        status=kept.status.value,
        attempt=kept.attempt,
        counts=(kept.records_pulled, kept.records_ingested, kept.duplicates_skipped, kept.records_rejected),
        watermark=_seconds(kept.watermark),
        error=kept.error_code,
    )


def _connector(row: sa.Row[Any]) -> tuple[UUID, tuple[Any, ...]]:
    settings = row.name, row.query, (row.vertical, row.entity_type), row.name_column, row.id_column
    at = None if row.watermark_at is None else (row.watermark_at - BEGINNING) // timedelta(seconds=1)
    return row.id, (*settings, row.overlap, row.generation, _seconds(row.watermark), at)


def _entity(row: sa.Row[Any]) -> tuple[Any, Any]:
    """(identity, content)."""
    data = json.loads(row.data)
    stamp = (datetime.fromisoformat(data["stamp"]) - BEGINNING) // timedelta(seconds=1)
    content = (row.name, ("id", data["id"]), ("sku", data["sku"]), ("stamp", stamp))
    return ((row.vertical, row.entity_type), content if row.source_id is None else row.source_id), content


def _whole(given: datetime | int | None) -> int | None:
    return (given - BEGINNING) // timedelta(seconds=1) if isinstance(given, datetime) else given


def _seconds(watermark: datetime | int | None) -> int | None:
    """A source's clock is seen up to its last microsecond."""
    if not isinstance(watermark, datetime):
        return watermark
    return (watermark + timedelta(microseconds=1) - BEGINNING) // timedelta(seconds=1)
