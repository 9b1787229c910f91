"""PostgreSQL's settings, drawn at random: a pull brings what psql prints."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.campaigns.conftest import DEEP
from tests.drawn_settings import World, drawn_values, new_world

DRAWS = 1_200 if DEEP else 25


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    yield from new_world()


@pytest.mark.server
@pytest.mark.timeout(3600 if DEEP else 300)
def test_a_pull_brings_what_psql_prints_under_any_settings(world: World, figures: Callable[[str], None]) -> None:
    """Some of all settings, each at the server, the database, the account or the account there; all types."""
    differing = {}
    for seed in range(DRAWS):
        source = random.Random(seed)  # to draw the same again
        settings = world.draw(source)
        world.set(settings)
        if found := world.differences(drawn_values(source)):
            differing[seed] = (settings, found)
    figures(f"settings of postgresql: {DRAWS} draws, {len(differing)} with differences")
    assert differing == {}
