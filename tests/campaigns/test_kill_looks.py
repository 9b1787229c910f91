"""Tests and dry runs whose process is killed: the store is as it was, and asked again they answer as ever.

At random instants, and before and after everything that they ask of the store.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from qanatix_pipelines.settings import Settings
from qanatix_pipelines.store.drafts import Kind
from qanatix_pipelines.store.opening import open_store
from tests.campaigns.conftest import DEEP
from tests.campaigns.contents import contents
from tests.campaigns.goods import GOODS
from tests.campaigns.lane import Lane
from tests.campaigns.lives import Death, lived
from tests.campaigns.looker import Look, look
from tests.conftest import ENCRYPTION_KEY, PEPPER, new_database, server
from tests.sources.databases import DATABASES
from tests.system import until

INSTANTS = 150 if DEEP else 6  # for each of the two
SEED = 20261201
KINDS: tuple[Kind, ...] = ("test", "dry_run")


class Looked:
    """A connector that has been pulled once, whose source has changed since."""

    def __init__(self, settings: Settings, lane: Lane) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._connector = lane.by_number
        self._kept = contents(self._store.engine)
        self.killed = self.late = 0

    def close(self) -> None:
        self._store.engine.dispose()

    def clean(self, kind: Kind) -> tuple[dict[str, Any], float]:
        """The answer that nothing happens to, and how long it takes."""
        return self._asked(kind, Death())

    def again(self, kind: Kind, death: Death) -> dict[str, Any]:
        """Ask, to be met by this death, and once more if no answer came. The answer of the last."""
        answer, _ = self._asked(kind, death)
        if answer:
            self.late += 1
            return answer
        self.killed += 1
        return self._asked(kind, Death())[0]

    def _asked(self, kind: Kind, death: Death) -> tuple[dict[str, Any], float]:
        store = self._store
        draft_id = store.drafts.add(kind, {}, self._connector.id)
        seconds = lived(look, Look(self._settings, draft_id, death.step), death)
        answer = store.drafts.answered(draft_id)
        store.drafts.drop(draft_id)
        assert contents(store.engine) == self._kept
        if store.engine.dialect.name == "postgresql":
            until(lambda: self._counted("SELECT count(*) FROM pg_class WHERE relname = 'scratch'") == 0)
        else:
            assert self._counted("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'") == 1
        return {} if answer is None else answer, seconds

    def _counted(self, query: str) -> int:
        with self._store.engine.connect() as connection:
            return int(connection.execute(sa.text(query)).scalar_one())


@pytest.fixture
def looked(store_kind: str, tmp_path: Path) -> Iterator[Looked]:
    settings = Settings(
        data_dir=tmp_path,
        store_url=SecretStr(new_database(server("postgresql"))) if store_kind == "postgresql" else None,
        encryption_key=SecretStr(ENCRYPTION_KEY),
        pepper=SecretStr(PEPPER),
    )
    goods = GOODS["postgresql"](DATABASES["postgresql"].harness(server("postgresql")))
    with closing(Lane(settings, goods)) as lane, closing(Looked(settings, lane)) as made:
        yield made


@pytest.mark.timeout(900 if not DEEP else 3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_look_that_is_killed_leaves_the_store_as_it_was_and_can_be_asked_again(
    store_kind: str, looked: Looked, kind: Kind, figures: Callable[[str], None]
) -> None:
    random = Random(f"{SEED} {store_kind} {kind}")
    clean, seconds = looked.clean(kind)
    assert clean["result"]

    deaths = [Death(seconds=random.uniform(0, seconds)) for _ in range(INSTANTS)]
    for step in count(1):
        late = looked.late
        assert looked.again(kind, Death(step=step)) == clean
        if looked.late > late:  # there is no such step
            break
    for death in deaths:
        assert looked.again(kind, death) == clean

    figures(f"kill {kind} {store_kind}: {looked.killed} killed of {looked.killed + looked.late} ({step} steps)")
    assert looked.killed >= step - 2  # after the last commit there is an answer
