"""The store, opened by an entrance: its address and keys from the settings, its tables checked."""

from dataclasses import dataclass

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import StoreNotReady
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.engine import PATIENCE_SECONDS, connect
from qanatix_pipelines.store.entities import EntityStore
from qanatix_pipelines.store.keys import check_cipher
from qanatix_pipelines.store.pulls import PullStore


@dataclass(frozen=True)
class Store:
    engine: sa.Engine
    connectors: ConnectorStore
    pulls: PullStore
    entities: EntityStore

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


def open_store(settings: Settings, patience_seconds: int = PATIENCE_SECONDS) -> Store:
    """As `open_engine`; raises SettingsError for a wrong encryption key, too."""
    cipher = CredentialCipher(settings.encryption_keys())
    engine = open_engine(settings, patience_seconds)
    try:
        check_cipher(engine, cipher)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, ConnectorStore(engine, cipher), PullStore(engine), EntityStore(engine))
