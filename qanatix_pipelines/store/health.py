"""What a connector's completed pulls were like: noted as they commit, and read for all connectors of a type at once."""

from typing import Any

import sqlalchemy as sa

from qanatix_pipelines.batches import Column
from qanatix_pipelines.health import Columns, Health, difference
from qanatix_pipelines.pulls import Pull
from qanatix_pipelines.rejections import Reason
from qanatix_pipelines.row_keys import PullWarning, Roles
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.tenants import Tenant


def note_health(
    transaction: sa.Connection,
    pull: Pull,
    records_pulled: int,
    columns: tuple[Column, ...],
    roles: Roles,
    *,
    rejected: bool,
    warned: bool,
    everything: bool,
) -> None:
    """Note a pull that completes, within its own transaction, which has locked the connector.

    `columns` is empty where they vary with the rows; `roles` are the key's and the name's. `rejected` is whether it
    rejected rows, `warned` whether it has warnings, and `everything` whether its query always reads all rows.
    """
    health = tables.connector_health
    own = health.c.connector_id == pull.connector_id
    found = transaction.execute(sa.select(health).where(own)).mappings().one_or_none()
    kept: dict[str, Any] = dict(found or {})
    at = now()
    values: dict[str, Any] = {
        "completed_at": at,
        "had_rows": bool(records_pulled or kept.get("had_rows")),
        "emptied_at": kept.get("emptied_at"),
        "columns": kept.get("columns", []),
    }
    everything = everything or pull.full_refresh
    for column, amiss in (("rejected_pull_id", rejected), ("warned_pull_id", warned)):
        if amiss or everything:
            values[column] = pull.id if amiss else None
    if columns or roles.key or roles.name:
        values |= {"key_column": roles.key, "name_column": roles.name}
    if records_pulled:
        values["emptied_at"] = None
    elif everything and values["had_rows"]:
        values["emptied_at"] = at
    if columns:
        values["columns"] = [[column.name, column.source_type] for column in columns]
        before = _columns(kept.get("columns", []))
        if before and difference(before, _columns(values["columns"])):
            values |= {"columns_before": kept["columns"], "columns_changed_at": at}
    if kept:
        transaction.execute(health.update().where(own).values(**values))
    else:
        transaction.execute(health.insert().values(connector_id=pull.connector_id, **values))


def health_of(engine: sa.Engine, connector_type: str) -> list[Health]:
    """That of all tenants' connectors of a type, oldest first."""
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
                _columns(row.columns or []),
                None if row.columns_before is None else _columns(row.columns_before),
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


def _columns(kept: list[list[str]]) -> Columns:
    return tuple((name, source_type) for name, source_type in kept)
