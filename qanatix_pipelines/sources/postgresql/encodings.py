"""Texts of a PostgreSQL database that is not in UTF-8: the server sends their bytes, and we decode them.

If the server converted them itself, one text that it cannot convert would end the query, with all its rows. Here such
a text is a fault of its row only. For each encoding below, Python decodes every byte as PostgreSQL does. A database in
SQL_ASCII does not say what a byte means, so its texts are taken for UTF-8, which is what a client asks for.
"""

from collections.abc import Iterable, Sequence

import polars as pl

from qanatix_pipelines.batches import Column

# Python's codecs by PostgreSQL's names (manual, "Character Set Support"). For EUC_JP, EUC_JIS_2004, EUC_KR, EUC_TW and
# MULE_INTERNAL Python has no codec that reads all characters as PostgreSQL does.
CODECS = {
    "SQL_ASCII": "utf-8",
    "EUC_CN": "gb2312",
    "ISO_8859_5": "iso8859-5",
    "ISO_8859_6": "iso8859-6",
    "ISO_8859_7": "iso8859-7",
    "ISO_8859_8": "iso8859-8",
    "KOI8R": "koi8-r",
    "KOI8U": "koi8-u",
    "LATIN1": "iso8859-1",
    "LATIN2": "iso8859-2",
    "LATIN3": "iso8859-3",
    "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9",
    "LATIN6": "iso8859-10",
    "LATIN7": "iso8859-13",
    "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15",
    "LATIN10": "iso8859-16",
    "WIN866": "cp866",
    "WIN874": "cp874",
} | {f"WIN{number}": f"cp{number}" for number in range(1250, 1259)}


def as_bytes(statement: str, columns: Sequence[Column]) -> str:
    """`statement`, changed to return the bytes of its text columns. `columns` are those of its result."""
    names = [f"c{position}" for position in range(len(columns))]
    # A cast would drop the padding of a text of fixed length; concat keeps it.
    texts = "CASE WHEN w.{0} IS NOT NULL THEN pg_catalog.convert_to(pg_catalog.concat(w.{0}), 'SQL_ASCII') END"
    selected = [
        texts.format(name) if column.dtype == pl.String else f"w.{name}"
        for name, column in zip(names, columns, strict=True)
    ]
    return f"SELECT {', '.join(selected)} FROM (\n{statement}\n) AS w ({', '.join(names)})"


def decoded(values: Iterable[bytes | None], codec: str) -> tuple[list[str | None], list[int]]:
    """The texts, and the places of those that cannot be decoded: they are null."""
    texts: list[str | None] = []
    faults = []
    for place, value in enumerate(values):
        try:
            texts.append(None if value is None else value.decode(codec))
        except UnicodeDecodeError:
            texts.append(None)
            faults.append(place)
    return texts, faults
