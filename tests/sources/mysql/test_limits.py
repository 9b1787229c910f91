"""A reading of MySQL or MariaDB that is limited to some rows, and how far its opening tells that it is."""

from functools import partial

import pytest

from qanatix_pipelines.errors import AccountTooStrong, LoginRefused, QueryRejected, ResultUnusable, SourceError
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Stage
from qanatix_pipelines.watermarks import Window
from tests.servers import Server
from tests.sources.limits import ACCOUNT, LOGIN, QUERY, batches, how_far, limited
from tests.sources.mysql.harness import MySQLHarness
from tests.sources.mysql.server import execute
from tests.sources.mysql.test_reading import user

source = partial(open_source, "mysql")


@pytest.fixture
def numbers(mysql_server: Server) -> MySQLHarness:
    """With a table of the numbers from 1 to 9."""
    execute(
        mysql_server.address,
        "SET sql_notes = 0",
        "DROP TABLE IF EXISTS numbers",
        "CREATE TABLE numbers (n int PRIMARY KEY, bits bit(40))",
        f"INSERT INTO numbers VALUES {', '.join(f'({n}, {n})' for n in range(1, 10))}",
    )
    return MySQLHarness(mysql_server)


@pytest.mark.parametrize(("rows", "batch_size"), [(3, 100), (3, 2), (4, 2), (1, 1), (20, 4)])
def test_no_more_rows_come_than_were_asked_for(numbers: MySQLHarness, rows: int, batch_size: int) -> None:
    found = limited(source(numbers.config), "SELECT n FROM numbers ORDER BY n DESC", rows, batch_size)

    assert found == [(10 - n,) for n in range(1, min(rows, 9) + 1)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT n FROM numbers",
        "SELECT n FROM numbers; -- the end",
        "SELECT n FROM numbers UNION ALL SELECT n + 9 FROM numbers",
        "WITH few AS (SELECT n FROM numbers WHERE n > 1) SELECT n FROM few",
        "SELECT n FROM (SELECT n FROM numbers UNION SELECT n + 9 FROM numbers) AS both_of_them",
        "SELECT n FROM numbers LIMIT 7",
        "(SELECT n FROM numbers)",
    ],
)
def test_a_limit_is_set_to_whatever_the_query_is(numbers: MySQLHarness, query: str) -> None:
    assert len(limited(source(numbers.config), query, 2)) == 2


def test_what_the_query_reads_within_is_not_limited(numbers: MySQLHarness) -> None:
    asked = source(numbers.config)

    assert limited(asked, "SELECT (SELECT COUNT(*) FROM numbers) AS n", 1) == [(9,)]
    assert limited(asked, "SELECT SUM(n) AS n FROM (SELECT n FROM numbers) AS inner_ones", 1) == [("45",)]


def test_the_source_makes_no_more_rows_than_were_asked_for(numbers: MySQLHarness) -> None:
    """Each row takes a second: without a limit, the server would sleep on."""
    asked = "SELECT n FROM numbers WHERE SLEEP(IF(n > 2, 600, 0)) = 0"

    assert limited(source(numbers.config), asked, 2) == [(1,), (2,)]
    assert numbers.connections() == 0


def test_a_tables_bits_are_still_known_for_bits(numbers: MySQLHarness) -> None:
    assert limited(source(numbers.config), "SELECT bits FROM numbers ORDER BY n", 2) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("query", "stages", "expected"),
    [
        ("SELECT 1 AS n", [LOGIN, ACCOUNT, QUERY], None),
        ("SELECT no_such_column", [LOGIN, ACCOUNT], QueryRejected),
        ("SELECT MAX(bits) AS n FROM numbers", [LOGIN, ACCOUNT, QUERY], ResultUnusable),
    ],
)
def test_the_stages_that_are_over_are_told(
    numbers: MySQLHarness, query: str, stages: list[Stage], expected: type[SourceError] | None
) -> None:
    assert how_far(source(numbers.config), query) == (stages, expected)


def test_a_refused_login_is_before_all_stages(numbers: MySQLHarness) -> None:
    assert how_far(source(numbers.wrong_password()), "SELECT 1") == ([], LoginRefused)


def test_an_account_that_is_too_strong_has_logged_in(mysql_server: Server) -> None:
    strong = user(mysql_server, "strong", "SELECT ON *.*", "FILE ON *.*")

    assert how_far(source(strong), "SELECT 1") == ([LOGIN], AccountTooStrong)


@pytest.mark.timeout(120)
def test_the_server_itself_gives_up_a_query_that_takes_too_long(numbers: MySQLHarness) -> None:
    """Where our process is killed, nobody else ends it, and the server does not notice."""
    tables = ", ".join(f"numbers AS t{n}" for n in range(12))
    query = f"SELECT SUM(t0.n * t11.n) AS total FROM {tables} WHERE t0.n + t11.n > 3"

    with pytest.raises(SourceError):
        batches(source(numbers.config), query, Window(rows=1, seconds=1), 1)
