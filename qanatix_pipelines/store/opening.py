"""The store, opened by an entrance: its address and keys from the settings, its tables checked."""

from dataclasses import dataclass

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.engine import connect
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


def open_store(settings: Settings) -> Store:
    """Raises SettingsError for a wrong address or key, and StoreNotReady.

    In development the tables are made as they should be; in production only `qanatix migrate` does that.
    """
    cipher = CredentialCipher(settings.encryption_keys())
    engine = connect(settings.store_address())
    try:
        if settings.production:
            migrations.check(engine)
        else:
            migrations.upgrade(engine)
        check_cipher(engine, cipher)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, ConnectorStore(engine, cipher), PullStore(engine), EntityStore(engine))
