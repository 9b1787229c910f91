"""A reading of PostgreSQL that is limited to some rows, and how far its opening tells that it is."""

import pytest

from qanatix_pipelines.errors import AccountTooStrong, LoginRefused, QueryRejected, ResultUnusable, SourceError
from qanatix_pipelines.sources import open_source
from qanatix_pipelines.sources.source import Source, Stage
from tests.servers import Server
from tests.sources.limits import ACCOUNT, LOGIN, QUERY, how_far, limited, opened
from tests.sources.postgresql.server import superuser
from tests.sources.postgresql.test_settings import configure, run


def source(dsn: str) -> Source:
    return open_source("postgresql", {"dsn": dsn})


@pytest.mark.parametrize(("rows", "batch_size"), [(3, 100), (3, 2), (4, 2), (1, 1)])
def test_no_more_rows_come_than_were_asked_for(database: str, rows: int, batch_size: int) -> None:
    found = limited(source(database), "SELECT n FROM generate_series(1, 10) AS n ORDER BY n", rows, batch_size)

    assert found == [(n,) for n in range(1, rows + 1)]


def test_all_rows_come_if_there_are_fewer(database: str) -> None:
    assert limited(source(database), "SELECT n FROM generate_series(1, 2) AS n", 5) == [(1,), (2,)]


def test_the_source_makes_no_more_rows_than_were_asked_for(database: str) -> None:
    """The rows after the third cannot be made: without a limit around the query, the server would try."""
    run(database, "CREATE TABLE items AS SELECT n FROM generate_series(1, 10) AS n")

    assert limited(source(database), "SELECT 1 / (n - 4) AS x FROM items", 3) == [(0,), (0,), (-1,)]


@pytest.mark.parametrize("query", ["SELECT 1 AS n -- the end", "SELECT 1 AS n;", "VALUES (1) LIMIT 5", "TABLE one"])
def test_a_limit_stands_around_whatever_the_query_ends_with(database: str, query: str) -> None:
    run(database, "CREATE TABLE one AS SELECT 1 AS n")

    assert limited(source(database), query, 1) == [(1,)]


def test_a_limit_stands_around_texts_that_come_as_bytes(postgresql_server: Server) -> None:
    name = "limited_latin"
    run(
        postgresql_server.address,
        f"DROP DATABASE IF EXISTS {name}",
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    dsn = f"{postgresql_server.address.rpartition('/')[0]}/{name}"
    query = "SELECT 'Grüße' || n AS name FROM generate_series(1, 9) AS n"

    assert limited(source(dsn), query, 2) == [("Grüße1",), ("Grüße2",)]


def test_a_place_is_told_in_the_users_own_text(database: str) -> None:
    _, error = opened(source(database), "SELECT 1 AS a,\n  nme FROM pg_class")

    assert "line 2, column 3, 'nme'" in str(error)


@pytest.mark.parametrize(
    ("query", "stages", "expected"),
    [
        ("SELECT 1 AS n", [LOGIN, ACCOUNT, QUERY], None),
        ("SELECT no_such_column", [LOGIN, ACCOUNT], QueryRejected),
        ("SELECT 1 AS n, 2 AS n", [LOGIN, ACCOUNT, QUERY], ResultUnusable),
        ("SELECT 1 WHERE 'a'::text > :last_pull", [LOGIN, ACCOUNT, QUERY], QueryRejected),
    ],
)
def test_the_stages_that_are_over_are_told(
    database: str, query: str, stages: list[Stage], expected: type[SourceError] | None
) -> None:
    assert how_far(source(database), query) == (stages, expected)


def test_a_refused_login_is_before_all_stages(database: str) -> None:
    assert how_far(source(database.replace("app:", "app:not-")), "SELECT 1") == ([], LoginRefused)


def test_an_account_that_is_too_strong_has_logged_in(postgresql_server: Server) -> None:
    assert how_far(source(superuser(postgresql_server.address)), "SELECT 1") == ([LOGIN], AccountTooStrong)


def test_limits_of_the_server_are_lifted_all_the_same(database: str) -> None:
    configure(database, "statement_timeout = '100ms'")

    assert limited(source(database), "SELECT n FROM generate_series(1, 9) AS n, LATERAL pg_sleep(0.06)", 3) == [
        (1,),
        (2,),
        (3,),
    ]
