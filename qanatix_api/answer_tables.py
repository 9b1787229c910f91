"""A receipt and a watermark as tables, for a person at a terminal."""

from collections.abc import Iterator
from datetime import datetime

from qanatix_api.receipts import PullReceipt
from qanatix_api.tables import aligned
from qanatix_api.watermarks import Kind, WatermarkAnswer
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.watermarks import Watermark


def receipt_table(receipt: PullReceipt) -> Iterator[str]:
    """The lines that show a pull that has ended. Why it failed is not among them."""
    took = f"{receipt.duration_seconds:.2f} s"
    if receipt.status is PullStatus.COMPLETED:
        yield f"The pull completed in {took}, and read {receipt.records_pulled:,} rows."
        counts = {
            "ingested": receipt.records_ingested,
            "unchanged": receipt.duplicates_skipped - receipt.keys_repeated,
            "keys repeated": receipt.keys_repeated,
            "rejected": receipt.records_rejected,
        }
        yield from aligned([(name, f"{count:,}") for name, count in counts.items()], right=1)
    else:
        ended = "was cancelled" if receipt.status is PullStatus.CANCELLED else receipt.status
        yield f"The pull {ended} after {took}. Nothing was ingested."
    columns = [("key column", receipt.key_column), ("name column", receipt.name_column)]
    ids = [("pull", receipt.pull_id), ("run", receipt.run_id)]
    yield from aligned([(name, str(value)) for name, value in [*columns, *ids] if value is not None])


def watermark_table(watermark: WatermarkAnswer) -> Iterator[str]:
    """The lines that show a watermark."""
    if not watermark.used:
        yield "The query does not say :last_pull, so each pull reads everything."
        return
    integer = watermark.kind is Kind.INTEGER
    start = watermark.next_last_pull
    rows = [
        ("watermark", "none" if watermark.value is None else _text(watermark.value)),
        ("read at", _text(watermark.read_at)),
        ("set at", _text(watermark.set_at)),
        ("source's clock then", _text(watermark.source_clock)),
        ("overlap", f"{watermark.overlap:,}" if integer else f"{watermark.overlap:,} s"),
        ("the next pull reads", "everything" if start is None else f"what is after {_text(start)}"),
    ]
    yield from aligned([row for row in rows if row[1]], indent=0)


def _text(value: Watermark | None) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return str(value)
