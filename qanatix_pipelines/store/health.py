"""The health of connectors: a pull notes it when it commits, and one query reads it for all connectors of a type."""

from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.batches import Column
from qanatix_pipelines.connectors import Connector
from qanatix_pipelines.health import Columns, Health, difference
from qanatix_pipelines.receipts import Receipt
from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.row_keys import PullWarning, Roles
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.tenants import Tenant


def note_health(
    transaction: sa.Connection,
    connector: Connector,
    receipt: Receipt,
    records_pulled: int,
    *,
    columns: tuple[Column, ...],
    roles: Roles,
    rejected: bool,
    warned: bool,
) -> None:
    """Note a pull that completes, in its own transaction, which has locked the connector.

    `columns` are empty if they vary with the rows; `roles` are the key's and the name's columns. `rejected` tells
    whether the pull rejected rows, and `warned` whether it has warnings.

    A pull of a part that a caller chose is not one that was due: without others, the connector is late all the same.
    """
    health = tables.connector_health
    own = health.c.connector_id == receipt.connector_id
    found = transaction.execute(sa.select(health).where(own)).mappings().one_or_none()
    kept: dict[str, Any] = dict(found or {})
    at, part = now(), receipt.extent.partial
    # Without a watermark, `:last_pull` is the least value.
    everything = not part and (receipt.full_refresh or connector.watermark is None)
    values: dict[str, Any] = {
        "completed_at": kept.get("completed_at", connector.created_at) if part else at,
        "had_rows": bool(records_pulled or kept.get("had_rows")),
        "emptied_at": kept.get("emptied_at"),
        "columns": kept.get("columns", []),
    }
    for column, amiss in (("rejected_pull_id", rejected), ("warned_pull_id", warned)):
        if amiss or everything:
            values[column] = receipt.id if amiss else None
    if columns or roles.key or roles.name:
        values |= {"key_column": roles.key, "name_column": roles.name}
    if records_pulled:
        values["emptied_at"] = None
    elif everything and values["had_rows"]:
        values["emptied_at"] = at
    if columns:
        values["columns"] = [[column.name, column.source_type] for column in columns]
        before = columns_of(kept.get("columns", []))
        if before and difference(before, columns_of(values["columns"])):
            values |= {"columns_before": kept["columns"], "columns_changed_at": at}
    if kept:
        transaction.execute(health.update().where(own).values(**values))
    else:
        transaction.execute(health.insert().values(connector_id=receipt.connector_id, **values))


def health_of(engine: sa.Engine, connector_type: str) -> list[Health]:
    """The health of all tenants' connectors of a type, oldest connector first."""
    connector, health = tables.connector.c, tables.connector_health.c
    rejecting, warned = tables.pull.alias(), tables.pull.alias()
    query = (
        sa.select(
            connector.id,
            connector.tenant,
            connector.partition_key,
            connector.name,
            connector.created_at,
            health.completed_at,
            health.emptied_at,
            health.columns,
            health.columns_before,
            health.columns_changed_at,
            connector.schedule,
            connector.watch,
            connector.paused,
            rejecting.c.rejected_by_reason,
            rejecting.c.finished_at.label("rejected_at"),
            warned.c.warnings,
            warned.c.finished_at.label("warned_at"),
        )
        .join_from(tables.connector, tables.connector_health, connector.id == health.connector_id, isouter=True)
        .join(rejecting, rejecting.c.id == health.rejected_pull_id, isouter=True)
        .join(warned, warned.c.id == health.warned_pull_id, isouter=True)
        .where(connector.connector_type == connector_type)
        .order_by(connector.created_at, connector.id)
    )
    with engine.execution_options(reads=True).connect() as connection:
        return [
            Health(
                row.id,
                Tenant(row.tenant),
                row.partition_key,
                row.name,
                row.created_at,
                row.completed_at,
                row.emptied_at,
                columns_of(row.columns or []),
                None if row.columns_before is None else columns_of(row.columns_before),
                row.columns_changed_at,
                None if row.schedule is None else Schedule.model_validate(row.schedule),
                rejected={Reason(reason): count for reason, count in (row.rejected_by_reason or {}).items()},
                rejected_at=row.rejected_at,
                warnings=tuple(map(PullWarning.model_validate, row.warnings or ())),
                warned_at=row.warned_at,
                irregular=row.paused or (row.watch is not None and row.schedule is None),
            )
            for row in connection.execute(query)
        ]


def columns_of(kept: list[list[str]]) -> Columns:
    """Columns as `connector_health` has them."""
    return tuple((name, source_type) for name, source_type in kept)
