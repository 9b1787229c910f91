"""Memory is bounded by bytes: it grows neither with the rows nor with their width."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns.conftest import DEEP
from tests.campaigns.weighed import Weight, weighed
from tests.servers import Server
from tests.sources.harness import Harness, SqlHarness

Figures = Callable[[str], None]

MIB = 2**20
FEW, MANY = (1_000_000, 5_000_000) if DEEP else (50_000, 150_000)
CEILING = 512 * MIB  # above idle, whatever is read
WIDE_CEILING = 320 * MIB  # the same, where a row or a batch is as wide as may be

# Of several types, some 200 bytes a row.
ROWS = """
SELECT n AS id, 'Item ' || n AS name, n * 1.25 AS price, now() AS updated_at, md5(n::text) AS code,
       repeat('lorem ', 1 + n % 20) AS notes
FROM generate_series(1, {}) n
"""


@pytest.mark.timeout(7200 if DEEP else 300)
def test_a_pull_of_many_rows_takes_no_more_memory_than_one_of_few(
    postgresql_server: Server, tmp_path: Path, figures: Figures
) -> None:
    def pulled(rows: int) -> Weight:
        config = {"dsn": postgresql_server.address}
        return weighed("postgresql", config, ROWS.format(rows), batch_size=5000, store=tmp_path / str(rows))

    few, many = pulled(FEW), pulled(MANY)

    figures(
        f"memory: {_told(few)}; {_told(many)}; {many.peak / few.peak:.2f} times the peak; "
        f"{few.idle // MIB} MiB idle; with the commit {many.seconds:.0f} s"
    )
    assert (few.rows, many.rows) == (FEW, MANY)
    assert many.peak <= 1.1 * few.peak
    assert many.above_idle < CEILING


def test_a_batch_of_50_000_wide_rows_is_not_held_at_once(harness: Harness, figures: Figures) -> None:
    """Rows of 10 kB: 100 MB, and 500 MB in the long form where the database gives them quickly."""
    rows = 50_000 if DEEP and isinstance(harness, SqlHarness) else 10_000
    harness.fill(rows)

    query = harness.with_body(10_000)
    read = weighed(harness.connector_type, harness.config, query, batch_size=50_000, **harness.allowed)

    figures(f"memory, rows of 10 kB, {harness.server.name}: {_told(read)}")
    assert read.rows == rows
    assert read.above_idle < WIDE_CEILING


def test_rows_that_become_wide_are_not_held_at_once(harness: Harness, figures: Figures) -> None:
    """After 20,000 rows of a few bytes 150 of a megabyte come, and no batch is full by its rows."""
    if not isinstance(harness, SqlHarness):
        pytest.skip("its driver gives rows one by one")
    harness.fill(20_150)
    query = harness.with_bodies("CASE WHEN id > 20000 THEN 1000000 ELSE 1 END")

    read = weighed(harness.connector_type, harness.config, query, batch_size=50_000, **harness.allowed)

    figures(f"memory, rows that become 1 MB wide, {harness.server.name}: {_told(read)}")
    assert read.rows == 20_150
    assert read.above_idle < WIDE_CEILING


def test_a_row_of_120_mib_is_not_held(harness: Harness, figures: Figures) -> None:
    if not isinstance(harness, SqlHarness):
        pytest.skip("its driver takes a row whole")
    if harness.connector_type == "sqlite":
        pytest.skip("a value over 64 MiB ends the pull: docs/sources.md")
    harness.fill(3)

    read = weighed(harness.connector_type, harness.config, harness.with_body(120 * MIB, item=2), batch_size=5000)

    figures(f"memory, a row of 120 MiB, {harness.server.name}: {_told(read)}")
    assert read.rows == 2
    assert read.above_idle < 100 * MIB


def _told(weight: Weight) -> str:
    return f"{weight.rows:,} rows, {weight.above_idle // MIB} MiB above idle"
