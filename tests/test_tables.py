"""What the commands show on a terminal: values with their digits, columns in the query's order, texts that fit."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from qanatix_api.answer_tables import receipt_table, watermark_table
from qanatix_api.receipts import Progress, PullReceipt
from qanatix_api.tables import as_json, paragraph, rows_table
from qanatix_api.watermarks import Kind, WatermarkAnswer
from qanatix_pipelines.receipts import PullStatus

READ_AT = datetime(2026, 1, 31, tzinfo=UTC)
COLUMNS = [
    {"name": "sku", "role": "key"},
    {"name": "label", "role": "name"},
    {"name": "price", "role": None},
    {"name": "colour", "role": None},
]


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def entity(data: dict[str, Any] | None) -> dict[str, Any]:
    return {"source_id": "A-1", "name": "Valve", "vertical_data": data}


def test_rows_have_the_querys_columns_in_its_order_and_the_key_once() -> None:
    shown = rows_table([entity({"colour": None, "price": Decimal("1.50"), "sku": "A-1"})], COLUMNS)

    assert shown.splitlines() == [
        "sku  label  price  colour",
        "---  -----  -----  ------",
        "A-1  Valve  1.50",
    ]


def test_a_field_that_is_no_column_comes_last() -> None:
    shown = rows_table([entity({"extra": True, "sku": "A-1"})], COLUMNS)

    assert shown.splitlines()[0] == "sku  label  price  colour  extra"


def test_a_row_without_its_data_shows_key_and_name() -> None:
    assert rows_table([entity(None)], COLUMNS).splitlines()[2] == "A-1  Valve"


def test_decimals_keep_their_digits_however_deep_they_are() -> None:
    value = {"weight": Decimal("0.10"), "sizes": [Decimal("12345678901234567890.5"), 'a "b"', None]}

    assert as_json(value) == r'{"weight": 0.10, "sizes": [12345678901234567890.5, "a \"b\"", null]}'


def test_a_text_has_no_line_that_is_wider_than_the_terminal() -> None:
    lines = paragraph("Only the last row with a key counts. " * 5 + "\x1b[2J").splitlines()

    assert max(map(len, lines)) <= 60
    assert len(lines) == 4
    assert lines[-1].endswith("?[2J")


RECEIPT = PullReceipt(
    status=PullStatus.COMPLETED,
    records_pulled=2849,
    records_ingested=2840,
    duplicates_skipped=7,
    keys_repeated=1,
    records_rejected=2,
    rejected_by_reason={},
    warnings=[],
    duration_seconds=0.314,
    key_column="id",
    name_column=None,
    change_number=1,
    pull_id=UUID(int=7),
    run_id="run-7",
    connector_id=UUID(int=8),
    trigger="api",
    attempts=1,
    full_refresh=False,
    since=None,
    until=None,
    limit=None,
    created_at=READ_AT,
    started_at=READ_AT,
    ended_at=READ_AT,
    progress=Progress(
        records_read=2849, bytes_read=0, records_per_second=None, merging_seconds=None, heartbeat_at=None, phase=None
    ),
    error=None,
)
WATERMARK = WatermarkAnswer(
    connector_id=UUID(int=8),
    kind=Kind.TIME,
    used=True,
    value=READ_AT,
    read_at=READ_AT,
    set_at=None,
    source_clock=None,
    overlap=300,
    next_last_pull=None,
)


def test_a_receipt_counts_each_row_once() -> None:
    assert list(receipt_table(RECEIPT)) == [
        "The pull completed in 0.31 s, and read 2,849 rows.",
        "  ingested       2,840",
        "  unchanged          6",
        "  keys repeated      1",
        "  rejected           2",
        "  key column  id",
        "  pull        00000000-0000-0000-0000-000000000007",
        "  run         run-7",
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (PullStatus.FAILED, "The pull failed after 0.31 s. Nothing was ingested."),
        (PullStatus.CANCELLED, "The pull was cancelled after 0.31 s. Nothing was ingested."),
    ],
)
def test_a_pull_that_did_not_complete_has_no_counts(status: PullStatus, told: str) -> None:
    first, second, *_ = receipt_table(RECEIPT.model_copy(update={"status": status}))

    assert (first, second.split()[0]) == (told, "key")


def test_a_watermark_says_what_the_next_pull_reads() -> None:
    assert list(watermark_table(WATERMARK)) == [
        "watermark            2026-01-31T00:00:00Z",
        "read at              2026-01-31T00:00:00Z",
        "overlap              300 s",
        "the next pull reads  everything",
    ]


def test_an_integer_is_shown_as_it_is_set() -> None:
    shown = {"kind": Kind.INTEGER, "value": 20_000, "next_last_pull": 10_000, "overlap": 10_000}

    lines = list(watermark_table(WATERMARK.model_copy(update=shown)))

    assert lines[0].split()[-1] == "20000"
    assert lines[-1] == "the next pull reads  what is after 10000"


def test_a_query_that_does_not_say_last_pull_has_no_watermark() -> None:
    (line,) = watermark_table(WATERMARK.model_copy(update={"used": False}))

    assert line == "The query does not say :last_pull, so each pull reads everything."
