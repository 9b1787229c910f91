"""Rows become entities: a name, the rest as canonical JSON, an identity, and a digest that tells a change.

The rules, for every source:

- `name_column` becomes the name and leaves the data; a row where it is null or blank is rejected. Without
  one, a column called `name` is taken if there is one, and may be null.
- `id_column` (unless one is named, `id`, or `_id` in MongoDB) is the row's key in its source, and stays in the data.
  Rows of one entity set with the same key are the same entity. A row without a key is known by its content alone.
- A row whose name and data are larger than MAX_ROW_BYTES is rejected: it would cost too much memory on its way. So is
  one of which its source says that it has a fault.
- The data's keys are sorted, so that the order of columns in a query changes no digest. Numbers keep all their digits.
  NaN and the infinities, which JSON has no number for (RFC 8259, section 6), become the strings that PostgreSQL's own
  to_json writes: "NaN", "Infinity", "-Infinity".
- An entity's id is a UUID of version 8 (RFC 9562, section 5.8) over SHA-256 of its set and key: 122 bits.
  Its digest is SHA-256 over name and data. Neither depends on a library's version.
"""

import json
from dataclasses import dataclass
from typing import cast

import polars as pl
import polars_hash  # noqa: F401  # gives expressions their `chash`
import pydantic_core

from qanatix_pipelines.batches import MAX_ROW_BYTES, OBJECT, Batch, Column, Named, Reading, check_names, parts
from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.errors import ColumnMissing
from qanatix_pipelines.rejections import GIANT, Fault, Reason, Rejection, rejection
from qanatix_pipelines.row_keys import Roles

# Polars' spelling of the numbers that JSON lacks, and ours.
_NOT_JSON = {"NaN": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}


_JSON_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


@dataclass(frozen=True)
class _Field:
    """A column, and the name of ours under which it stands in the frame."""

    column: Column
    name: str


@dataclass(frozen=True)
class EntityBatch:
    """One batch's entities: `id` (32 hex digits), `source_id`, `digest` (64 hex digits), `name`, `data` (JSON text).

    `alike` is how many rows of the batch have an entity's id and digest; all of them but the last, `duplicates`
    altogether, were dropped. Of entities with the same id the last one counts. `keyless` rows have no key.
    """

    frame: pl.DataFrame
    rejections: list[Rejection]
    duplicates: int
    keyless: int = 0


class EntityMaker:
    """Turns the batches of one reading into entities, for one connector.

    `default_id` and `default_name` are the columns where it names none; `id_required` is the reading's. Every method
    raises ResultUnusable if two columns share a name, or a column that the connector names is not there.
    """

    def __init__(
        self,
        connector: ConnectorSettings,
        default_id: str = "id",
        default_name: str = Named.name,
        *,
        id_required: bool = False,
    ) -> None:
        self._connector = connector
        self._default_id = default_id
        self._default_name = default_name
        self._id_required = id_required
        self._set = f"{connector.vertical}\x00{connector.entity_type}\x00"
        self._columns: tuple[Column, ...] | None = None
        self._rows_seen = 0
        self.roles = Roles()

    def check(self, columns: tuple[Column, ...]) -> None:
        """Take these columns for the batches to come: before the first row, where they are known by then."""
        check_names(columns)
        by_name = {column.name: _Field(column, f"c{position}") for position, column in enumerate(columns)}
        named = self._connector
        # What the first batch of a collection has, later documents may lack.
        strict = self._columns is None
        self._name = _chosen(by_name, "name_column", named.name_column, self._default_name, strict=strict)
        self._id = _chosen(by_name, "id_column", named.id_column, self._default_id, strict=strict)
        self._fields = sorted(by_name.values(), key=lambda field: field.column.name)
        self._columns = columns
        # Of documents, whatever any of them has had.
        self.roles = Roles(_column(self._id) or self.roles.key, _column(self._name) or self.roles.name)

    def make(self, batch: Batch) -> EntityBatch:
        """The entities of the reading's next batch."""
        if batch.columns != self._columns:
            self.check(batch.columns)
        first = self._rows_seen + 1
        self._rows_seen += batch.frame.height
        # Under names of ours: Polars would take a column called `*` or `^a.*$` for a pattern.
        names = {field.column.name: field.name for field in self._fields}
        ours = {name: names[name] for name in batch.frame.columns if name != OBJECT}
        rows = batch.frame.rename(ours).with_columns(place=pl.int_range(pl.len()))
        faults = {**self._unreadable(rows), **batch.faults}
        texts = pl.concat([self._texts(part) for part in parts(rows)])
        rules = [(pl.col("place").is_in(list(faults)), None), *self._rules()]
        rule = pl.coalesce(*(pl.when(broken).then(number) for number, (broken, _) in enumerate(rules)))
        texts = texts.with_columns(rule=rule)
        rejected = texts.filter(pl.col("rule").is_not_null()).select("place", "source_id", "rule")
        entities = texts.filter(pl.col("rule").is_null()).select("id", "source_id", "digest", "name", "data")
        unlike = _unlike(entities)
        return EntityBatch(
            frame=unlike,
            rejections=[
                rejection(first + place, key, rules[rule][1] or faults[place])
                for place, key, rule in rejected.iter_rows()
            ],
            duplicates=entities.height - unlike.height,
            keyless=entities["source_id"].null_count(),
        )

    def _texts(self, rows: pl.DataFrame) -> pl.DataFrame:
        texts = rows.select(
            "place",
            source_id=_text(rows, self._id),
            name=_text(rows, self._name),
            data=OBJECT if OBJECT in rows.columns else self._json_object(),
        )
        content = pl.concat_str(_quoted(pl.col("name")), pl.lit("\n"), "data")
        return texts.with_columns(digest=_sha256(content)).with_columns(id=self._entity_id())

    def _unreadable(self, rows: pl.DataFrame) -> dict[int, Fault]:
        """The places of rows with JSON text that no reader could read.

        The text enters the entity as it stands, so one that is no JSON would spoil every page that shows it. A source
        gives none, unless it lies.
        """
        found: dict[int, Fault] = {}
        for field in self._fields:
            if field.column.json and not field.column.sound:
                texts = rows[field.name]
                doubtful = (~texts.str.contains(_JSON_NUMBER)).fill_null(value=False).arg_true()
                fault = Fault(Reason.NOT_JSON, field.column.name)
                found |= {place: fault for place in doubtful if not _is_json(texts[place])}
        return found

    def _rules(self) -> list[tuple[pl.Expr, Fault]]:
        """What no row may be, and why; null is no."""
        name, key = pl.col("name"), pl.col("source_id")
        name_column, id_column = _column(self._name), _column(self._id)
        size = pl.col("data").str.len_bytes() + name.str.len_bytes().fill_null(0)
        rules = [(size > MAX_ROW_BYTES, GIANT)]
        if (named := self._connector.name_column) is not None:
            blank = name.is_null() | (name.str.strip_chars() == "")
            rules.append((blank, Fault(Reason.NAME_MISSING, named)))
        if self._id_required and self._id is not None:
            rules.append((key.is_null(), Fault(Reason.KEY_MISSING, id_column)))
        # PostgreSQL's text cannot hold it, and both stores must take the same rows.
        rules.append((name.str.contains("\x00", literal=True), Fault(Reason.NOT_TEXT, name_column)))
        rules.append((key.str.contains("\x00", literal=True), Fault(Reason.NOT_TEXT, id_column)))
        return rules

    def _json_object(self) -> pl.Expr:
        """Every step on the way copies all values, so it is one step."""
        pieces: list[pl.Expr] = []
        for field in self._fields:
            if field is not self._name:
                comma = "," if pieces else ""
                key = pl.lit(f"{comma}{json.dumps(field.column.name, ensure_ascii=False)}:")
                pieces += [key, _json(field)]
        return pl.concat_str(pl.lit("{"), *pieces, pl.lit("}"))

    def _entity_id(self) -> pl.Expr:
        key = pl.concat_str(pl.lit("key "), "source_id")
        return _version_8(_sha256(pl.lit(self._set) + pl.coalesce(key, pl.lit("content ") + pl.col("digest"))))


def maker_of(connector: ConnectorSettings, reading: Reading) -> EntityMaker:
    """The columns that the connector names, and the usual ones, are taken as the reading calls them."""
    options = {"id_column": connector.id_column, "name_column": connector.name_column}
    named = {option: reading.spelled(name) for option, name in options.items() if name is not None}
    return EntityMaker(
        connector.model_copy(update=named),
        reading.spelled(reading.id_column),
        reading.spelled(Named.name),
        id_required=reading.id_required,
    )


def _column(field: _Field | None) -> str | None:
    return None if field is None else field.column.name


def _unlike(entities: pl.DataFrame) -> pl.DataFrame:
    """The last of the entities with the same id and digest, and how many there are `alike`."""
    if entities["id"].n_unique() == entities.height:
        return entities.with_columns(alike=pl.lit(1, pl.Int64))
    same = ("id", "digest")
    counted = entities.with_columns(alike=pl.len().over(same).cast(pl.Int64))
    return counted.unique(same, keep="last", maintain_order=True)


def _chosen(columns: dict[str, _Field], option: str, named: str | None, default: str, *, strict: bool) -> _Field | None:
    if strict and named is not None and named not in columns:
        raise ColumnMissing(named, option, columns)
    return columns.get(default if named is None else named)


def _text(rows: pl.DataFrame, field: _Field | None) -> pl.Series | pl.Expr:
    """A column as the text of a name or a key: a JSON string without its quotes, anything else as it is written."""
    if field is None:
        return pl.lit(None, dtype=pl.String)
    text = rows[field.name].cast(pl.String)
    if not field.column.json:
        return text
    text = text.str.strip_chars()
    column = pl.col(text.name)
    quoted = column.str.starts_with('"')
    bare = pl.when(column == "null").then(None).when(quoted).then(column.str.slice(1).str.head(-1)).otherwise(column)
    read = text.to_frame().select(bare=bare, escaped=quoted & column.str.contains("\\", literal=True))
    escaped = read["escaped"].arg_true()
    return read["bare"].scatter(escaped, [_unescaped(text[place]) for place in escaped])


def _unescaped(text: str) -> str:
    """What a JSON string says; NUL, which is rejected, if it is none, or holds half of a surrogate pair."""
    try:
        said = str(json.loads(text))
        said.encode()
    except ValueError:
        return "\x00"
    return said


def _json(field: _Field) -> pl.Expr:
    """A column as JSON text, null as `null`."""
    value = pl.col(field.name)
    if field.column.json:
        encoded = value
    elif field.column.dtype == pl.String:
        encoded = _quoted(value)
    else:
        encoded = value.cast(pl.String)
        if field.column.dtype.is_float():
            encoded = encoded.replace(_NOT_JSON)
    return encoded.fill_null("null")


def _quoted(text: pl.Expr) -> pl.Expr:
    """Text as a JSON string. Polars quotes and escapes only a struct's field: {"":"..."} less its wrapping."""
    return pl.struct(text.alias("")).struct.json_encode().str.slice(len('{"":')).str.head(-len("}"))


def _sha256(text: pl.Expr) -> pl.Expr:
    return cast(pl.Expr, text.chash.sha2_256())  # type: ignore[attr-defined]


def _version_8(digest: pl.Expr) -> pl.Expr:
    """The first 128 bits of a digest, the version and the variant set in them."""
    variant = digest.str.slice(16, 1).replace_strict({f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)})
    return pl.concat_str(
        digest.str.slice(0, 12), pl.lit("8"), digest.str.slice(13, 3), variant, digest.str.slice(17, 15)
    )


def _nothing(_read: object) -> None:
    """Nothing is kept of what is only tried. A number need not be read at all: Python refuses to read the longest."""


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_STRICT = json.JSONDecoder(
    parse_int=_nothing, parse_float=_nothing, parse_constant=_refuse, object_pairs_hook=_nothing
).decode


def _is_json(text: str) -> bool:
    try:
        # Many times faster, but it knows no lone surrogates, nor numbers of thousands of digits.
        pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError:
        try:
            _STRICT(text)
        except (ValueError, RecursionError):
            return False
    return True
