"""MongoDB read up to a limit of rows; and what it tells of its opening: the stages that are over."""

from functools import partial

from qanatix_pipelines.errors import LoginRefused, QueryRejected
from qanatix_pipelines.sources import open_source
from tests.sources.limits import ACCOUNT, LOGIN, QUERY, each_limit, heights, how_far
from tests.sources.mongodb.harness import MongoDBHarness

source = partial(open_source, "mongodb")


@each_limit
def test_no_more_rows_are_read_than_the_window_has(
    mongodb_harness: MongoDBHarness, rows: int, limit: int | None, batch_size: int, expected: list[int]
) -> None:
    mongodb_harness.fill(rows)

    assert heights(source(mongodb_harness.config), mongodb_harness.everything, limit, batch_size) == expected


def test_the_server_stops_its_work_with_the_last_row_of_the_window(mongodb_harness: MongoDBHarness) -> None:
    """It would work for minutes on those after it."""
    never = mongodb_harness.slow()
    with mongodb_harness.database() as database:
        database.items.insert_many({"_id": -n, "name": "found"} for n in range(1, 4))
    query = f'{{"filter": {{"$or": [{{"_id": {{"$lt": 0}}}}, {never}]}}, "sort": {{"_id": 1}}}}'

    assert heights(source(mongodb_harness.config), query, 3, 1000) == [3]


def test_a_stage_is_told_once_it_is_over(mongodb_harness: MongoDBHarness) -> None:
    mongodb_harness.fill(1)
    config = mongodb_harness.config

    assert how_far(source(mongodb_harness.wrong_password()), "{}") == ([], LoginRefused)
    assert how_far(source(config), mongodb_harness.rejected) == ([LOGIN, ACCOUNT], QueryRejected)
    assert how_far(source(config), "{}") == ([LOGIN, ACCOUNT, QUERY], None)
