"""Connectors in the store. Their credentials are encrypted and decrypted only here and in `rotation`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from qanatix_pipelines.conflicts import KeyTaken
from qanatix_pipelines.connectors import Connector, ConnectorSettings, NewConnector
from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import NotFound, PullSuperseded
from qanatix_pipelines.naming import partition_key
from qanatix_pipelines.store import tables
from qanatix_pipelines.store.answers import Sent, first_alike
from qanatix_pipelines.store.clock import now
from qanatix_pipelines.store.connector_lists import ALL, FIELDS, LastPull, Wanted, last_pulls, listed
from qanatix_pipelines.store.erasure import Erasure
from qanatix_pipelines.store.pulls import end_live
from qanatix_pipelines.store.rejections import rejections_of
from qanatix_pipelines.store.rotation import Rotated, rotate
from qanatix_pipelines.store.schedules import next_due, source_name
from qanatix_pipelines.store.tenants import OfTenant
from qanatix_pipelines.store.watches import next_look, reset_watch
from qanatix_pipelines.tenants import Tenant
from qanatix_pipelines.tls import Tls

# The settings that decide which rows are read and what entities they become.
_DECIDES_ROWS = ("query", "cursor_column", "vertical", "entity_type", "name_column", "id_column")


class ConnectorStore(OfTenant):
    """One tenant's connectors. Those of other tenants are as if they did not exist."""

    def __init__(self, engine: sa.Engine, cipher: CredentialCipher, tenant: Tenant) -> None:
        super().__init__(tenant)
        self._engine = engine
        self._reader = engine.execution_options(reads=True)
        self._cipher = cipher
        # Erases replaced and removed credentials from SQLite's files.
        self.erasure = Erasure(engine)

    def add(
        self,
        new: NewConnector,
        identity_digest: bytes | None = None,
        *,
        connection: dict[str, str | int] | None = None,
        tls: Tls | None = None,
    ) -> Connector:
        """Keep a new connector.

        `identity_digest`, `connection` and `tls` are those of its `SourceIdentity`. A later change compares digests to
        tell whether the connector reads another database. Raises KeyTaken.
        """
        return self.add_once(new, identity_digest, None, connection=connection, tls=tls)[0]

    def add_once(
        self,
        new: NewConnector,
        identity_digest: bytes | None,
        sent: Sent | None,
        *,
        connection: dict[str, str | int] | None,
        tls: Tls | None,
    ) -> tuple[Connector, bool]:
        """As `add`, and True. Or the connector that a request like `sent` has just registered, and False."""
        connector_id = uuid4()
        connector = Connector(
            **new.model_dump(exclude={"connection_config"}),
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
        secret = {"credentials": credentials, "place": identity_digest}
        look = {"next_look_at": next_look(connector, connector.created_at)}
        with _key_is_free(new.key), self._engine.begin() as transaction:
            first = (
                connector_id
                if sent is None
                else first_alike(transaction, self._cipher, self.tenant, sent, connector_id)
            )
            if first == connector_id:
                transaction.execute(tables.connector.insert().values(connector.model_dump() | secret | look))
        return (connector, True) if first == connector_id else (self.get(first), False)

    def change(
        self,
        connector_id: UUID,
        settings: Mapping[str, Any],
        connection_config: dict[str, Any] | None = None,
        identity_digest: bytes | None = None,
        *,
        connection: dict[str, str | int] | None = None,
        tls: Tls | None = None,
        check: Callable[[Connector], None] = lambda _kept: None,
    ) -> Connector:
        """Change these settings, and the credentials if new ones are given.

        If the change decides which rows are read or what they become, or names another database, the live pull is
        given up and the watermark is reset: the next pull reads everything. New credentials for the same database
        (the same `identity_digest`) only give up the live pull. A schedule that is new or no longer `paused` counts
        from now.

        `check` is called with the connector as it is, and may raise. Raises NotFound, KeyTaken, and ValidationError if
        the settings contradict each other.
        """
        table = tables.connector
        with _key_is_free(settings.get("key")), self._engine.begin() as transaction:
            found = transaction.execute(sa.select(table).where(self._is(connector_id)).with_for_update())
            row = found.mappings().one_or_none()
            if row is None:
                raise NotFound("connector")
            kept = Connector.model_validate({field: row[field] for field in Connector.model_fields})
            check(kept)
            # Merged first, so that the settings are validated as a whole.
            changed = Connector.model_validate(kept.model_dump() | dict(settings))
            moved = connection_config is not None and (identity_digest is None or identity_digest != row["place"])
            reread = moved or any(getattr(changed, field) != getattr(kept, field) for field in _DECIDES_ROWS)
            void = reread or connection_config is not None
            values = changed.model_dump() | _by_itself(kept, changed, now(), reread=reread)
            if reread:
                values |= {"watermark": None, "watermark_at": None, "source_clock": None}
            if void:
                values |= {"generation": kept.generation + 1}
            if changed != kept or connection_config is not None:
                values |= {"version": kept.version + 1}
            if connection_config is not None:
                credentials = self._cipher.encrypt(self.tenant, connector_id, connection_config)
                values |= {"credentials": credentials, "place": identity_digest, "connection": connection, "tls": tls}
            transaction.execute(table.update().where(self._is(connector_id)).values(**values))
            if reread:
                transaction.execute(_health_of(connector_id))  # other columns or no rows are expected now
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

    def by_key(self, key: str) -> Connector:
        """Raises NotFound."""
        return self._one((tables.connector.c.key == key) & (tables.connector.c.tenant == self.tenant))

    def list(self) -> list[Connector]:
        """All of them, oldest first."""
        return [*self.page()[0]]

    def page(
        self, wanted: Wanted = ALL, limit: int | None = None, cursor: str | None = None
    ) -> tuple[Sequence[Connector], str | None]:
        """Those that are wanted, oldest first, as `connector_lists.listed`."""
        return listed(self._reader, self.tenant, wanted, limit, cursor)

    def rivals(
        self, connector: ConnectorSettings, connector_id: UUID | None = None, place: bytes | None = None
    ) -> Sequence[str]:
        """The names of the other connectors that fill the same entity set with the same key, oldest first.

        A connector without an id is taken for the one that has its own key, or else its name, its query and the
        `place` of its source.
        """
        table = tables.connector.c
        same = (table.vertical == connector.vertical) & (table.entity_type == connector.entity_type)
        key = sa.func.coalesce(table.id_column, "") == (connector.id_column or "")
        query = sa.select(table.name).where(same, key, table.tenant == self.tenant)
        if connector_id is not None:
            query = query.where(table.id != connector_id)
        else:
            alike = (table.name == connector.name) & (table.query == connector.query) & (table.place == place)
            own_key = sa.func.coalesce(table.key, "") == connector.key if connector.key else sa.false()
            query = query.where(~(own_key | sa.and_(alike, table.place.is_not(None))))
        with self._reader.connect() as connection:
            return connection.execute(query.order_by(table.created_at, table.id)).scalars().all()

    def last_pulls(self, *connector_ids: UUID) -> dict[UUID, LastPull]:
        """The newest receipt of each connector that has one, or of each of `connector_ids`."""
        return last_pulls(self._reader, self.tenant, *connector_ids)

    def source_of(self, connector_id: UUID) -> str:
        """The connector's `schedules.source_name`. Raises NotFound."""
        query = sa.select(tables.connector.c.place).where(self._is(connector_id))
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise NotFound("connector")
        return source_name(row.place, connector_id)

    def connection_config(self, connector: Connector) -> dict[str, Any]:
        """The decrypted credentials, for the length of a pull or a watch's check.

        Raises PullSuperseded if the connector was deleted or changed, because they may belong to another database by
        now; CredentialsUnreadable if no key decrypts them.
        """
        table = tables.connector.c
        query = sa.select(table.credentials).where(self._is(connector.id), table.generation == connector.generation)
        with self._reader.connect() as connection:
            token = connection.execute(query).scalar_one_or_none()
        if token is None:
            raise PullSuperseded
        return self._cipher.decrypt(self.tenant, connector.id, token)

    def rotate(self, on_progress: Callable[[int, int], None] = lambda _done, _of: None) -> Rotated:
        """Encrypt every tenant's credentials under the first key (`rotation.rotate`). Raises StoreUnavailable."""
        rotated = rotate(self._engine, self._cipher, on_progress)
        self.erasure.begin()
        return rotated

    def remove(self, connector_id: UUID, check: Callable[[Connector], None] = lambda _kept: None) -> Connector:
        """Delete a connector, its credentials and its rejected rows, and give up its live pull.

        Its entities and receipts stay. `check` is called with the connector, and may raise. Raises NotFound.
        """
        with self._engine.begin() as transaction:
            connector = _found(transaction, sa.select(*FIELDS).where(self._is(connector_id)).with_for_update())
            check(connector)
            transaction.execute(tables.connector.delete().where(self._is(connector_id)))
            end_live(transaction, tables.pull.c.connector_id == connector_id, PullSuperseded())
            transaction.execute(_health_of(connector_id))
            transaction.execute(rejections_of(connector_id))
        self.erasure.begin()
        return connector

    def _is(self, connector_id: UUID) -> sa.ColumnElement[bool]:
        return (tables.connector.c.id == connector_id) & (tables.connector.c.tenant == self.tenant)

    def _one(self, condition: sa.ColumnElement[bool]) -> Connector:
        with self._reader.connect() as connection:
            return _found(connection, sa.select(*FIELDS).where(condition))


def _found(connection: sa.Connection, query: sa.Select[Any]) -> Connector:
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound("connector")
    return Connector.model_validate(dict(row))


@contextmanager
def _key_is_free(key: str | None) -> Iterator[None]:
    """Raise KeyTaken if the store refuses a row because another connector of the tenant has its key."""
    try:
        yield
    except IntegrityError:
        if key is None:
            raise
        raise KeyTaken from None


def _health_of(connector_id: UUID) -> sa.Delete:
    return tables.connector_health.delete().where(tables.connector_health.c.connector_id == connector_id)


def _by_itself(kept: Connector, changed: Connector, at: datetime, *, reread: bool) -> dict[str, Any]:
    """New values for the times of the next scheduled pull and of the next watch check."""
    values: dict[str, Any] = {}
    switched = changed.paused != kept.paused
    if switched or changed.schedule != kept.schedule:
        values["next_due_at"] = next_due(changed, at)
    if switched:
        values |= {"next_look_at": next_look(changed, at), "watch_asked": None}
    if reread or changed.watch != kept.watch:
        values |= reset_watch(changed, at)
    return values
