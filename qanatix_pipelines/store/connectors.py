"""Connectors as they are kept. The only place where their credentials are encrypted and decrypted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import NotFound, PullSuperseded
from qanatix_pipelines.naming import partition_key
from qanatix_pipelines.pulls import PullStatus
from qanatix_pipelines.row_keys import Roles
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.erasure import Erasure
from qanatix_pipelines.store.pulls import end_live
from qanatix_pipelines.store.rejections import rejections_of
from qanatix_pipelines.store.rotation import Rotated, rotate
from qanatix_pipelines.store.schedules import next_due, source_name
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.store.watches import looked_anew, next_look
from qanatix_pipelines.tenants import Tenant
from qanatix_pipelines.tls import Tls

_FIELDS = [tables.connector.c[field] for field in Connector.model_fields]
# What decides which rows there are and what entities they become.
_DECIDES_ROWS = ("query", "cursor_column", "vertical", "entity_type", "name_column", "id_column")


@dataclass(frozen=True)
class LastPull:
    """The newest receipt. `at` is when it ended, or began if it has not; the error is None unless it failed.

    `roles` are those of the last result that told them, None each if none has since the query changed.
    """

    id: UUID
    status: PullStatus
    at: datetime
    error_code: str | None
    error_detail: str | None
    roles: Roles


class ConnectorStore(OfTenant):
    """One tenant's connectors: those of others are not there."""

    def __init__(self, engine: sa.Engine, cipher: CredentialCipher, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._cipher = cipher
        # Of credentials that were replaced or removed.
        self.erasure = Erasure(engine)

    def add(
        self,
        new: NewConnector,
        place: bytes | None = None,
        *,
        connection: dict[str, str | int] | None = None,
        tls: Tls | None = None,
    ) -> Connector:
        """Keep a connector. `place` is a digest of which database it reads, by which a later change tells another.

        `connection` is what may be shown of its connection_config, and `tls` what that demands.
        """
        connector_id = uuid4()
        settings = new.model_dump(exclude={"connection_config"})
        connector = Connector(
            **settings,
            id=connector_id,
            tenant=self.tenant,
            partition_key=partition_key(new.name, connector_id),
            generation=1,
            watermark=None,
            watermark_at=None,
            created_at=now(),
            connection=connection,
            tls=tls,
        )
        connector.next_due_at = next_due(connector, connector.created_at)
        credentials = self._cipher.encrypt(self.tenant, connector_id, new.connection_config)
        secret = {"credentials": credentials, "place": place}
        look = {"next_look_at": next_look(connector, connector.created_at)}
        with self._engine.begin() as transaction:
            transaction.execute(tables.connector.insert().values(connector.model_dump() | secret | look))
        return connector

    def change(
        self,
        connector_id: UUID,
        settings: Mapping[str, Any],
        connection_config: dict[str, Any] | None = None,
        place: bytes | None = None,
        *,
        connection: dict[str, str | int] | None = None,
        tls: Tls | None = None,
    ) -> Connector:
        """Change these settings, and the credentials if there are new ones.

        Where a row would be another one by them, or come from elsewhere, a live pull is given up, and the next reads
        everything: `:last_pull` begins anew. Credentials for the same `place` only give up the live pull. A schedule
        that is changed, or `paused` no more, counts from now.

        Raises NotFound, and ValidationError if the settings do not go together.
        """
        table = tables.connector
        with self._engine.begin() as transaction:
            found = transaction.execute(sa.select(table).where(self._is(connector_id)).with_for_update())
            row = found.mappings().one_or_none()
            if row is None:
                raise NotFound("connector")
            kept = Connector.model_validate({field: row[field] for field in Connector.model_fields})
            # In this order: what a caller says is checked as a whole.
            changed = Connector.model_validate(kept.model_dump() | dict(settings))
            moved = connection_config is not None and (place is None or place != row["place"])
            reread = moved or any(getattr(changed, field) != getattr(kept, field) for field in _DECIDES_ROWS)
            void = reread or connection_config is not None
            values = changed.model_dump() | _by_itself(kept, changed, now(), reread=reread)
            if reread:
                values |= {"watermark": None, "watermark_at": None}
            if void:
                values |= {"generation": kept.generation + 1}
            if connection_config is not None:
                credentials = self._cipher.encrypt(self.tenant, connector_id, connection_config)
                values |= {"credentials": credentials, "place": place, "connection": connection, "tls": tls}
            transaction.execute(table.update().where(self._is(connector_id)).values(**values))
            if reread:
                transaction.execute(_health_of(connector_id))  # other columns and no rows are no surprise now
            if void:
                end_live(transaction, tables.pull.c.connector_id == connector_id, PullSuperseded())
        if connection_config is not None:
            self.erasure.begin()
        return self.get(connector_id)

    def get(self, connector_id: UUID) -> Connector:
        """Raises NotFound."""
        return self._one(self._is(connector_id))

    def by_partition(self, key: str) -> Connector:
        """Raises NotFound."""
        return self._one((tables.connector.c.partition_key == key) & (tables.connector.c.tenant == self.tenant))

    def list(self) -> list[Connector]:
        """All of them, oldest first."""
        table = tables.connector.c
        query = sa.select(*_FIELDS).where(table.tenant == self.tenant).order_by(table.created_at, table.id)
        with self._reader.connect() as connection:
            return [Connector.model_validate(dict(row)) for row in connection.execute(query).mappings()]

    def last_pulls(self, connector_id: UUID | None = None) -> dict[UUID, LastPull]:
        """The newest receipt of each connector that has one, or of this connector."""
        connector, others = tables.connector.c, tables.pull.alias().c
        newest = (
            sa.select(others.id)
            .where(others.tenant == connector.tenant, others.connector_id == connector.id)
            .order_by(others.created_at.desc(), others.id.desc())
            .limit(1)
            .correlate(tables.connector)  # for each connector by its index, however long its history is
            .scalar_subquery()
        )
        table, health = tables.pull.c, tables.connector_health.c
        query = (
            sa.select(
                table.connector_id,
                table.id,
                table.status,
                sa.func.coalesce(table.finished_at, table.created_at, type_=tables.Instant).label("at"),
                table.error_code,
                table.error_detail,
                health.key_column,
                health.name_column,
            )
            .select_from(tables.connector.join(tables.pull, table.id == newest))
            .join(tables.connector_health, health.connector_id == connector.id, isouter=True)
            .where(connector.tenant == self.tenant)
        )
        if connector_id is not None:
            query = query.where(connector.id == connector_id)
        with self._reader.connect() as connection:
            rows = connection.execute(query)
            return {
                row.connector_id: LastPull(
                    row.id,
                    PullStatus(row.status),
                    row.at,
                    row.error_code,
                    row.error_detail,
                    Roles(row.key_column, row.name_column),
                )
                for row in rows
            }

    def source_of(self, connector_id: UUID) -> str:
        """As `schedules.source_name`. Raises NotFound."""
        query = sa.select(tables.connector.c.place).where(self._is(connector_id))
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("connector")
        return source_name(row.place, connector_id)

    def connection_config(self, connector: Connector) -> dict[str, Any]:
        """The credentials in clear, for the length of a pull or a look.

        Raises PullSuperseded if the connector is gone or was changed: they may be another database's by now;
        CredentialsUnreadable.
        """
        table = tables.connector.c
        query = sa.select(table.credentials).where(self._is(connector.id), table.generation == connector.generation)
        with self._reader.connect() as connection:
            token = connection.execute(query).scalar_one_or_none()
        if token is None:
            raise PullSuperseded
        return self._cipher.decrypt(self.tenant, connector.id, token)

    def rotate(self, on_progress: Callable[[int, int], None] = lambda _done, _of: None) -> Rotated:
        """Bring every tenant's credentials under the first key, as `rotation.rotate` does. Raises StoreUnavailable."""
        rotated = rotate(self._engine, self._cipher, on_progress)
        self.erasure.begin()
        return rotated

    def remove(self, connector_id: UUID) -> Connector:
        """Forget a connector, its credentials and its rejected rows, and give up its live pull.

        Its entities and receipts stay.

        Raises NotFound.
        """
        connector = self.get(connector_id)
        with self._engine.begin() as transaction:
            gone = transaction.execute(tables.connector.delete().where(self._is(connector_id)))
            if gone.rowcount == 0:
                raise NotFound("connector")
            end_live(transaction, tables.pull.c.connector_id == connector_id, PullSuperseded())
            transaction.execute(_health_of(connector_id))
            transaction.execute(rejections_of(connector_id))
        self.erasure.begin()
        return connector

    def _is(self, connector_id: UUID) -> sa.ColumnElement[bool]:
        return (tables.connector.c.id == connector_id) & (tables.connector.c.tenant == self.tenant)

    def _one(self, condition: sa.ColumnElement[bool]) -> Connector:
        with self._reader.connect() as connection:
            row = connection.execute(sa.select(*_FIELDS).where(condition)).mappings().one_or_none()
        if row is None:
            raise NotFound("connector")
        return Connector.model_validate(dict(row))


def _health_of(connector_id: UUID) -> sa.Delete:
    return tables.connector_health.delete().where(tables.connector_health.c.connector_id == connector_id)


def _by_itself(kept: Connector, changed: Connector, at: datetime, *, reread: bool) -> dict[str, Any]:
    """What a change makes of when a connector is pulled and looked at by itself."""
    values: dict[str, Any] = {}
    switched = changed.paused != kept.paused
    if switched or changed.schedule != kept.schedule:
        values["next_due_at"] = next_due(changed, at)
    if switched:
        values |= {"next_look_at": next_look(changed, at), "watch_asked": None}
    if reread or changed.watch != kept.watch:
        values |= looked_anew(changed, at)
    return values
