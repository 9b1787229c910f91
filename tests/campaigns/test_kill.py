"""Pulls whose process is killed, begun again as the sensor would: the store is then as after one clean pull.

At random instants, one in three of them twice; at every point that has a name; and before and after everything that a
pull asks of the store.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

import pytest
from pydantic import SecretStr

from qanatix_pipelines.settings import Settings
from tests.campaigns.conftest import DEEP
from tests.campaigns.goods import FIRST, GOODS, GREATEST
from tests.campaigns.lane import Lane
from tests.campaigns.lives import Death
from tests.campaigns.victim import POINTS
from tests.conftest import ENCRYPTION_KEY, PEPPER, new_database, server
from tests.sources.databases import DATABASES

INSTANTS = 375 if DEEP else 5  # for each of the ten lanes
SEED = 20261124
# At these the pull has completed.
TOO_LATE = {"after_commit", "before_report"}


@pytest.fixture
def lanes(store_kind: str, tmp_path: Path) -> Iterator[list[Lane]]:
    """One for each source, all with stores of one kind."""
    with ExitStack() as stack:
        made = []
        for name, goods in GOODS.items():
            settings = Settings(
                data_dir=tmp_path / name,
                store_url=SecretStr(new_database(server("postgresql"))) if store_kind == "postgresql" else None,
                encryption_key=SecretStr(ENCRYPTION_KEY),
                pepper=SecretStr(PEPPER),
            )
            lane = Lane(settings, goods(DATABASES[name].harness(server(name))))
            made.append(stack.enter_context(closing(lane)))
        yield made


@pytest.mark.timeout(1500 if not DEEP else 7200)
def test_a_pull_that_is_killed_and_begun_again_does_what_a_clean_one_does(
    store_kind: str, lanes: list[Lane], figures: Callable[[str], None]
) -> None:
    with ThreadPoolExecutor(2) as threads:
        counts = list(threads.map(_campaign, range(len(lanes)), lanes, [store_kind] * len(lanes)))

    told = [lane.figures for lane in lanes]
    different = [pull for lane in told for pull in lane.different]
    figures(
        f"kill {store_kind}: {INSTANTS * len(lanes)} instants, {sum(points for points, _ in counts)} points, "
        f"{sum(steps for _, steps in counts)} steps; {sum(lane.kills for lane in told)} kills, "
        f"{sum(lane.twice for lane in told)} pulls killed twice, {sum(lane.late for lane in told)} deaths too late, "
        f"{len(different)} differences"
    )
    assert different == []


def _campaign(number: int, lane: Lane, store_kind: str) -> tuple[int, int]:
    """At how many points and how many steps the pull was killed. In short, each point with one of the two stores."""
    _clean(lane)
    random = Random(f"{SEED} {number} {store_kind}")
    connectors = (lane.by_time, lane.by_number, lane.by_part, lane.at_first)
    points = [name for name, point in POINTS.items() if point.of == "all" or store_kind == "postgresql"]
    points = points if DEEP else points[(number + (store_kind == "sqlite")) % 2 :: 2]
    for nth, point in enumerate(points):
        deaths = [Death(point=point), *([lane.instant(random)] if nth % 3 == 0 else [])]
        connector = {"first": lane.at_first, "large": lane.by_time}.get(POINTS[point].of, connectors[nth % 4])
        assert (lane.pull(connector, deaths) > 0) is (point not in TOO_LATE), point
    for nth in range(INSTANTS):
        deaths = [lane.instant(random) for _ in range(2 if nth % 3 == 0 else 1)]
        lane.pull(connectors[nth % 4], deaths, random.choice(("well", "well", "falters")))
    return len(points), _every_step(lane) if number == 0 or DEEP else 0


def _clean(lane: Lane) -> None:
    by_time, by_number, by_part, at_first = map(lane.clean, (lane.by_time, lane.by_number, lane.by_part, lane.at_first))

    counts = ("records_pulled", "records_ingested", "duplicates_skipped", "records_rejected", "keys_repeated")
    assert [getattr(by_time, count) for count in counts] == [63, 28, 33, 2, 11]
    assert [getattr(by_number, count) for count in counts] == [48, 28, 18, 2, 1]
    assert [getattr(by_part, count) for count in counts] == [47, 28, 17, 2, 1]
    assert [getattr(at_first, count) for count in counts] == [63, 48, 13, 2, 11]
    assert (by_number.watermark, by_part.watermark, lane.watermark(lane.by_part)) == (GREATEST, None, FIRST[-1][0])


def _every_step(lane: Lane) -> int:
    late, step = lane.figures.late, 0
    while lane.figures.late == late:  # until the pull has completed at that step
        step += 1
        lane.pull(lane.by_number, [Death(step=step)])
    return step
