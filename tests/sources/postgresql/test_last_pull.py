"""PostgreSQL queries that compute from `:last_pull`: a first pull reads all rows, and two readings lose none."""

from datetime import datetime, timedelta

import pytest

from qanatix_pipelines.errors import QueryRejected
from tests.sources.postgresql.test_settings import configure, read, run

ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Kiritimati"]
# Types of a stamp, and the condition that asks for later ones.
STAMPED = [
    ("timestamptz DEFAULT now()", "stamp > :last_pull"),
    ("timestamp DEFAULT localtimestamp", "stamp > :last_pull"),
    ("timestamp DEFAULT localtimestamp", "stamp::timestamptz > :last_pull"),
    ("timestamp DEFAULT (now() AT TIME ZONE 'UTC')", "stamp AT TIME ZONE 'UTC' > :last_pull"),
    ("timestamp DEFAULT (now() AT TIME ZONE 'UTC')", "stamp > :last_pull::timestamptz AT TIME ZONE 'UTC'"),
    ("date DEFAULT current_date", "stamp > :last_pull"),
    ("text DEFAULT to_char(now(), 'YYYYMMDD')", "stamp >= to_char(:last_pull::timestamptz, 'YYYYMMDD')"),
    ("text DEFAULT to_char(now(), 'YYYY-MM-DD HH24:MI:SS')",
     "stamp >= to_char(:last_pull::timestamptz, 'YYYY-MM-DD HH24:MI:SS')"),
    ("bigint DEFAULT extract(epoch FROM now())", "stamp > extract(epoch FROM :last_pull::timestamptz)"),
    ("bigint DEFAULT extract(epoch FROM now()) * 1000", "stamp > extract(epoch FROM :last_pull::timestamptz) * 1000"),
    ("int DEFAULT extract(epoch FROM now())", "stamp > extract(epoch FROM :last_pull::timestamptz)::int"),
    ("int DEFAULT extract(epoch FROM now())",
     "stamp > extract(epoch FROM :last_pull::timestamptz - interval '10 days')::int"),
    ("int DEFAULT to_char(now(), 'YYYYMMDD')::int", "stamp >= to_char(:last_pull::timestamptz, 'YYYYMMDD')::int"),
    ("timestamptz DEFAULT now()", "stamp > :last_pull::timestamptz - interval '1 day'"),
    ("timestamptz DEFAULT now()", "stamp > date_trunc('day', :last_pull::timestamptz)"),
    ("timestamptz DEFAULT now()", "stamp > (:last_pull::timestamptz)::date"),
    ("timestamptz DEFAULT now()", "age(stamp, :last_pull::timestamptz) > interval '0'"),
    ("timestamptz DEFAULT now()", "stamp <@ tstzrange(:last_pull::timestamptz, NULL)"),
    ("timestamptz DEFAULT now()", "stamp > (:last_pull::timestamptz)::text::timestamptz"),
    ("timestamptz DEFAULT now()", "stamp > to_timestamp(extract(epoch FROM :last_pull::timestamptz))"),
    ("date DEFAULT current_date",
     "stamp >= make_date(extract(year FROM :last_pull::date)::int, 1, 1)"),
]  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_two_readings_lose_no_row(database: str, zone: str) -> None:
    """One row is there before the first reading, and one comes between the two."""
    configure(database, f"TimeZone = '{zone}'", "DateStyle = 'ISO, DMY'")
    lost = []
    for number, (column, condition) in enumerate(STAMPED):
        table = f"changing{number}"
        run(database, f"CREATE TABLE {table} (id int, stamp {column})", f"INSERT INTO {table} (id) VALUES (1)")
        query = f"SELECT id FROM {table} WHERE {condition}"

        first, reached = read(database, query)
        run(database, f"INSERT INTO {table} (id) VALUES (2)")
        second, _ = read(database, query, reached)

        if first != [(1,)] or (2,) not in second:
            lost.append((column, condition, first, second))
    assert lost == []


def test_a_view_that_makes_instants_of_local_times_loses_no_row(database: str) -> None:
    configure(database, "TimeZone = 'America/New_York'")
    run(
        database,
        "CREATE TABLE orders (id int, created timestamp DEFAULT localtimestamp)",
        "CREATE VIEW changes AS SELECT id, created::timestamptz AS changed_at FROM orders",
        "INSERT INTO orders (id) VALUES (1)",
    )
    query = "SELECT id, changed_at FROM changes WHERE changed_at > :last_pull"

    ((_, at),), reached = read(database, query)
    run(database, "INSERT INTO orders (id) VALUES (2)")
    second, _ = read(database, query, reached)

    assert reached is not None
    assert abs(datetime.fromisoformat(at) - reached) < timedelta(minutes=5)
    assert [id_ for id_, _ in second] == [1, 2]  # the overlap brings the first again


@pytest.mark.parametrize("zero", ["0001-01-01", "1753-01-01", "1899-12-30", "1900-01-01", "1970-01-01"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Pacific/Kiritimati"])
def test_the_first_pull_reads_what_other_systems_stamp_with_their_zero(database: str, zero: str, zone: str) -> None:
    configure(database, f"TimeZone = '{zone}'")

    for kind in ("timestamptz", "timestamp", "date"):
        assert read(database, f"SELECT 1 AS n WHERE '{zero}'::{kind} > :last_pull")[0] == [(1,)]


def test_numbers_of_32_bits_are_computed_from_a_nearer_time(database: str) -> None:
    query = "SELECT extract(epoch FROM :last_pull::timestamptz)::int AS n"

    assert read(database, query)[0] == [(-2145916800,)]  # 1902-01-01


def test_a_query_that_can_compute_with_no_time_is_rejected(database: str) -> None:
    with pytest.raises(QueryRejected, match="22003"):
        read(database, "SELECT extract(epoch FROM :last_pull::timestamptz)::smallint AS n")


@pytest.mark.parametrize(
    ("column", "code"),
    [
        ("extract(epoch FROM at)::int", "22003"),
        ("extract(year FROM at)::int::smallint * 30000::smallint", "22003"),
        ("at - interval '5000 years'", "22008"),
    ],
)
def test_a_row_that_is_out_of_range_is_told_and_leaves_no_row_out(database: str, column: str, code: str) -> None:
    """The error is not of `:last_pull`: a later start would hide it."""
    rows = "(VALUES (1, '0001-01-01'::timestamptz), (2, '2026-01-01')) AS kept (id, at)"

    with pytest.raises(QueryRejected, match=code):
        read(database, f"SELECT id, {column} AS n FROM {rows} WHERE at > :last_pull")


def test_only_what_cannot_be_computed_starts_from_a_nearer_time(database: str) -> None:
    query = (
        "SELECT '1900-01-01'::timestamptz > :last_pull AS old, extract(epoch FROM :last_pull::timestamptz)::int AS n"
    )

    assert read(database, query)[0] == [(True, -2145916800)]


def test_all_batches_of_a_first_pull_come(database: str) -> None:
    query = "SELECT n FROM generate_series(1, 250) n WHERE now() > :last_pull ORDER BY n"

    assert read(database, query)[0] == [(n,) for n in range(1, 251)]
    assert read(database, "SELECT 1 AS n WHERE now() < :last_pull")[0] == []
