"""Opens the store for a process: the address and keys come from the settings, and the tables are checked."""

from dataclasses import dataclass, replace
from typing import Self

import sqlalchemy as sa

from qanatix_pipelines.credentials import CredentialCipher
from qanatix_pipelines.errors import StoreNotReady
from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store import migrations
from qanatix_pipelines.store.answers import Answers
from qanatix_pipelines.store.connectors import ConnectorStore
from qanatix_pipelines.store.drafts import DraftStore
from qanatix_pipelines.store.engine import PATIENCE_SECONDS, connect
from qanatix_pipelines.store.entities import EntityStore
from qanatix_pipelines.store.entity_sets import EntitySet, entity_sets
from qanatix_pipelines.store.history import History
from qanatix_pipelines.store.keys import check_cipher, check_pepper
from qanatix_pipelines.store.pulls import PullStore
from qanatix_pipelines.store.rejections import RejectionStore
from qanatix_pipelines.store.schedules import Schedules
from qanatix_pipelines.store.tenants import Tenants
from qanatix_pipelines.store.watches import Watches
from qanatix_pipelines.store.watermarks import WatermarkStore
from qanatix_pipelines.tenants import DEFAULT, Tenant


@dataclass(frozen=True)
class Store:
    """The store as one tenant sees it. Code that works for several tenants calls `of` for each of `tenants`.

    `schedules` and `watches` cover all tenants, because Dagster asks them at each tick.
    """

    engine: sa.Engine
    tenants: Tenants
    schedules: Schedules
    watches: Watches
    connectors: ConnectorStore
    pulls: PullStore
    entities: EntityStore
    rejections: RejectionStore
    watermarks: WatermarkStore
    drafts: DraftStore
    answers: Answers
    history: History

    def of(self, tenant: Tenant) -> Self:
        """The same store as another tenant sees it."""
        return replace(
            self,
            connectors=self.connectors.of(tenant),
            pulls=self.pulls.of(tenant),
            entities=self.entities.of(tenant),
            rejections=self.rejections.of(tenant),
            watermarks=self.watermarks.of(tenant),
            drafts=self.drafts.of(tenant),
            answers=self.answers.of(tenant),
            history=self.history.of(tenant),
        )

    def ping(self) -> None:
        """Run the cheapest query, to see whether the store answers."""
        with self.engine.execution_options(reads=True).connect() as connection:
            connection.execute(sa.select(1))


def open_engine(settings: Settings, patience_seconds: int = PATIENCE_SECONDS) -> sa.Engine:
    """The engine of a store whose tables are those of this release.

    In development, missing or old tables are brought to this release's form; in production only `qanatix migrate` does
    that. Raises SettingsError for a wrong address, StoreUnavailable, and StoreNotReady.
    """
    engine = connect(settings.store_address(), patience_seconds)
    try:
        try:
            migrations.check(engine)  # first, because it needs no lock: a merge may hold the only one for long
        except StoreNotReady:
            if settings.production:
                raise
            migrations.upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_store(settings: Settings, patience_seconds: int = PATIENCE_SECONDS, *, proven: bool = True) -> Store:
    """The store as the tenant `default` sees it. Raises as `open_engine`, and SettingsError for a wrong encryption key.

    If it need not be `proven`, it opens with a wrong key, too, and decrypting credentials fails later.
    """
    cipher = CredentialCipher(settings.encryption_keys())
    engine = open_engine(settings, patience_seconds)
    try:
        if proven:
            check_cipher(engine, cipher)
    except BaseException:
        engine.dispose()
        raise
    connectors = ConnectorStore(engine, cipher, DEFAULT)
    return Store(
        engine,
        Tenants(engine),
        Schedules(engine),
        Watches(engine),
        connectors,
        PullStore(engine, DEFAULT),
        EntityStore(engine, DEFAULT),
        RejectionStore(engine, DEFAULT),
        WatermarkStore(engine, DEFAULT),
        DraftStore(engine, cipher, connectors.erasure, DEFAULT),
        Answers(engine, cipher, DEFAULT),
        History(engine, DEFAULT),
    )


def check_proofs(engine: sa.Engine, settings: Settings) -> None:
    """Raise SettingsError if the encryption key or the pepper is set and is not the one of this store.

    For commands that may run without these secrets: it requires none, generates none and stores no proof.
    """
    if settings.encryption_key is not None:
        check_cipher(engine, CredentialCipher(settings.encryption_keys()), keep=False)
    if settings.pepper is not None:
        check_pepper(engine, settings.api_key_pepper(), keep=False)


def read_entity_sets(settings: Settings) -> list[EntitySet]:
    """The entity sets, read over one connection that is closed again. Makes no tables. Raises as `open_engine`."""
    engine = connect(settings.store_address())
    try:
        migrations.check(engine)
        return entity_sets(engine)
    finally:
        engine.dispose()
