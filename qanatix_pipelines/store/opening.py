"""The store, opened by an entrance: its address and keys from the settings, its tables checked."""

from dataclasses import dataclass, replace
from typing import Self

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import StoreNotReady
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.engine import PATIENCE_SECONDS, connect
from qanatix_pipelines.store.entities import EntityStore
from qanatix_pipelines.store.entity_sets import EntitySet, entity_sets
from qanatix_pipelines.store.keys import check_cipher, check_pepper
from qanatix_pipelines.store.pulls import PullStore
from qanatix_pipelines.store.rejections import RejectionStore
from qanatix_pipelines.store.schedules import Schedules
from qanatix_pipelines.store.tenants import Tenants
from qanatix_pipelines.store.watches import Watches
from qanatix_pipelines.tenants import DEFAULT, Tenant


@dataclass(frozen=True)
class Store:
    """What is one tenant's. Another's is not there: who works for several asks for each, `of` it, by `tenants`.

    `schedules` and `watches` are all tenants': Dagster asks them at each tick.
    """

    engine: sa.Engine
    tenants: Tenants
    schedules: Schedules
    watches: Watches
    connectors: ConnectorStore
    pulls: PullStore
    entities: EntityStore
    rejections: RejectionStore

    def of(self, tenant: Tenant) -> Self:
        """Another tenant's, in the same database."""
        return replace(
            self,
            connectors=self.connectors.of(tenant),
            pulls=self.pulls.of(tenant),
            entities=self.entities.of(tenant),
            rejections=self.rejections.of(tenant),
        )

    def ping(self) -> None:
        """Ask the database for the least that it can answer."""
        with self.engine.execution_options(reads=True).connect() as connection:
            connection.execute(sa.select(1))


def open_engine(settings: Settings, patience_seconds: int = PATIENCE_SECONDS) -> sa.Engine:
    """Raises SettingsError for a wrong address, StoreUnavailable, and StoreNotReady.

    In development the tables are made as they should be; in production only `qanatix migrate` does that.
    """
    engine = connect(settings.store_address(), patience_seconds)
    try:
        try:
            migrations.check(engine)  # first: it needs no lock, and a merge may hold the only one for long
        except StoreNotReady:
            if settings.production:
                raise
            migrations.upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_store(settings: Settings, patience_seconds: int = PATIENCE_SECONDS, *, proven: bool = True) -> Store:
    """The tenant `default`'s. As `open_engine`; raises SettingsError for a wrong encryption key, too.

    One that need not be `proven` opens with a wrong key as well: what it cannot decrypt it says when it is asked to.
    """
    cipher = CredentialCipher(settings.encryption_keys())
    engine = open_engine(settings, patience_seconds)
    try:
        if proven:
            check_cipher(engine, cipher)
    except BaseException:
        engine.dispose()
        raise
    return Store(
        engine,
        Tenants(engine),
        Schedules(engine),
        Watches(engine),
        ConnectorStore(engine, cipher, DEFAULT),
        PullStore(engine, DEFAULT),
        EntityStore(engine, DEFAULT),
        RejectionStore(engine, DEFAULT),
    )


def check_proofs(engine: sa.Engine, settings: Settings) -> None:
    """Raise SettingsError for a secret that is set and is not this store's, of one that has a proof of its own.

    For who may do without: nothing is asked for, made or kept.
    """
    if settings.encryption_key is not None:
        check_cipher(engine, CredentialCipher(settings.encryption_keys()), keep=False)
    if settings.pepper is not None:
        check_pepper(engine, settings.api_key_pepper(), keep=False)


def read_entity_sets(settings: Settings) -> list[EntitySet]:
    """The entity sets, read once over a connection that is closed again; no table is made. Raises as `open_engine`."""
    engine = connect(settings.store_address())
    try:
        migrations.check(engine)
        return entity_sets(engine)
    finally:
        engine.dispose()
