"""The watermark of a pull whose `cursor_column` holds integers."""

from decimal import Decimal, InvalidOperation
from typing import cast

import polars as pl

from qanatix_pipelines.batches import Batch
from qanatix_pipelines.errors import ColumnMissing, ResultUnusable
from qanatix_pipelines.watermarks import DIGITS


class Cursor:
    """The greatest value that the `cursor_column` has had so far. Without a name it sees nothing."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self.greatest: int | None = None

    def see(self, batch: Batch) -> None:
        """Take a batch into account. Raises ResultUnusable if the column is missing or holds anything but integers."""
        if self._name is None:
            return
        if self._name not in (column.name for column in batch.columns):
            raise ColumnMissing(self._name, "cursor_column", (column.name for column in batch.columns))
        try:
            found = _greatest(batch.frame[self._name])
        except (pl.exceptions.InvalidOperationError, ArithmeticError):
            raise ResultUnusable(
                f"The column {self._name!r}, which the connector's cursor_column names, holds something else than "
                "integers of at most 38 digits. For a time, leave cursor_column out."
            ) from None
        if found is not None:
            self.greatest = found if self.greatest is None else max(self.greatest, found)


def _greatest(values: pl.Series) -> int | None:
    """The greatest integer of a column; None if all values are null. A whole number counts, however it is written.

    Raises InvalidOperationError or an ArithmeticError if the column holds anything else.
    """
    if values.dtype.is_float() and (values % 1 == 0).all():
        return cast(int | None, values.cast(pl.Int128).max())
    if values.dtype == pl.String:
        # Where values carry their own types, a column's JSON texts may be `null`, `1732000000001.0` or `1e+3`.
        values = values.filter(values != "null")
        odd = values.str.contains(r"[.eE]")
        whole = [_whole(text) for text in values.filter(odd).unique()]
        return cast(int | None, pl.Series([values.filter(~odd).cast(pl.Int128).max(), *whole], dtype=pl.Int128).max())
    if not values.dtype.is_integer():
        raise pl.exceptions.InvalidOperationError
    return cast(int | None, values.cast(pl.Int128).max())


def _whole(text: str) -> int:
    number = Decimal(text)
    # `1e1000000` is a few bytes, and would take minutes to expand.
    if number.adjusted() >= DIGITS or number != number.to_integral_value():
        raise InvalidOperation
    return int(number)
