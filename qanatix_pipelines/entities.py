"""Rows become entities: a name, the other columns as canonical JSON, an id, and a digest that changes with them.

The rules, for every source:

- `name_column` becomes the name and leaves the data. A row whose name is null or blank is rejected. If the connector
  names no column, a column called `name` is used if there is one; there the name may be null.
- `id_column` is the row's key in its source, and stays in the data. The default is `id`, or `_id` in MongoDB. Rows of
  one entity set with the same key are the same entity. A row without a key is identified by its content.
- A row whose name and data exceed MAX_ROW_BYTES is rejected, because it would take too much memory. A row that its
  source found faulty is rejected, too.
- The data's keys are sorted, so the order of a query's columns does not change a digest. Numbers keep all their
  digits. JSON has no numbers for NaN and the infinities (RFC 8259, section 6), so they become the strings that
  PostgreSQL's to_json writes: "NaN", "Infinity", "-Infinity".
- An entity's id is a version 8 UUID (RFC 9562, section 5.8) made of 122 bits of SHA-256 over its set and key.
  Its digest is SHA-256 over name and data. Neither depends on a library's version.
"""

import json
from dataclasses import dataclass

import polars as pl

from qanatix_pipelines.batches import MAX_ROW_BYTES, OBJECT, Batch, Column, Named, Reading, check_names, parts
from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.digests import as_bytes, as_uuids, sha256
from qanatix_pipelines.errors import ColumnMissing
from qanatix_pipelines.json_texts import Field, json_object, not_json, quoted
from qanatix_pipelines.rejections import OVERSIZED, Fault, Reason, Rejection, rejection
from qanatix_pipelines.row_keys import Roles


@dataclass(frozen=True)
class EntityBatch:
    """One batch's entities: `id` (16 bytes), `source_id`, `digest` (32 bytes), `name`, `data` (JSON text).

    `alike` is how many rows of the batch have this id and digest. Only the last of them is in the frame; `duplicates`
    is how many rows were dropped that way. Of several entities with one id the last one counts. `keyless` is how many
    rows have no key.
    """

    frame: pl.DataFrame
    rejections: list[Rejection]
    duplicates: int
    keyless: int = 0


class EntityMaker:
    """Turns the batches of one reading into entities, for one connector.

    `default_id` and `default_name` are the columns to use if the connector names none; `id_required` is that of the
    `Reading`. Every method raises ResultUnusable if two columns share a name, or if the result lacks a column that the
    connector names.
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
        """Check the columns of the batches to come. Call it before the first row if the columns are known by then."""
        check_names(columns)
        by_name = {column.name: Field(column, f"c{position}") for position, column in enumerate(columns)}
        named = self._connector
        # Documents of a later batch may lack what those of the first one had.
        strict = self._columns is None
        self._name = _chosen(by_name, "name_column", named.name_column, self._default_name, strict=strict)
        self._id = _chosen(by_name, "id_column", named.id_column, self._default_id, strict=strict)
        self._fields = sorted(by_name.values(), key=lambda field: field.column.name)
        self._columns = columns
        # A column that one batch of documents had stays known when a later batch lacks it.
        self.roles = Roles(_column(self._id) or self.roles.key, _column(self._name) or self.roles.name)

    def make(self, batch: Batch) -> EntityBatch:
        """The entities of the reading's next batch."""
        if batch.columns != self._columns:
            self.check(batch.columns)
        first = self._rows_seen + 1
        self._rows_seen += batch.frame.height
        # Our own names, because Polars takes a column called `*` or `^a.*$` for a pattern.
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
        fields = [field for field in self._fields if field is not self._name]
        texts = rows.select(
            "place",
            source_id=_text(rows, self._id),
            name=_text(rows, self._name),
            # A row with a fault has no object. It is rejected.
            data=pl.col(OBJECT).fill_null("null") if OBJECT in rows.columns else json_object(rows, fields),
        )
        content = pl.concat_str(quoted(pl.col("name")), pl.lit("\n"), "data")
        # Step by step: an expression that is used twice is evaluated twice.
        digests = texts.select(digest=sha256(content)).to_series()
        ids = texts.select(id=sha256(self._identity(texts, digests))).to_series()
        return texts.with_columns(id=as_uuids(ids), digest=as_bytes(digests))

    def _identity(self, texts: pl.DataFrame, digests: pl.Series) -> pl.Expr:
        """What identifies an entity: its set and key, or its set and content, whose `digests` are hex digits."""
        key = pl.concat_str(pl.lit(f"{self._set}key "), "source_id")
        if not texts["source_id"].has_nulls():
            return key
        return pl.coalesce(key, pl.lit(f"{self._set}content ") + digests)

    def _unreadable(self, rows: pl.DataFrame) -> dict[int, Fault]:
        """Faults of rows whose JSON text is not valid JSON, by the row's position.

        JSON text enters the entity unchanged, so an invalid one would break every page of the API that shows it. Only
        a hostile or broken source sends one.
        """
        return {
            place: Fault(Reason.NOT_JSON, field.column.name)
            for field in self._fields
            if field.column.json and not field.column.sound
            for place in not_json(rows[field.name])
        }

    def _rules(self) -> list[tuple[pl.Expr, Fault]]:
        """Conditions under which a row is rejected, each with its reason. A condition that is null does not apply."""
        name, key = pl.col("name"), pl.col("source_id")
        name_column, id_column = _column(self._name), _column(self._id)
        size = pl.col("data").str.len_bytes() + name.str.len_bytes().fill_null(0)
        rules = [(size > MAX_ROW_BYTES, OVERSIZED)]
        if (named := self._connector.name_column) is not None:
            blank = name.is_null() | (name.str.strip_chars() == "")
            rules.append((blank, Fault(Reason.NAME_MISSING, named)))
        if self._id_required and self._id is not None:
            rules.append((key.is_null(), Fault(Reason.KEY_MISSING, id_column)))
        # PostgreSQL's text cannot hold NUL, and both kinds of store must take the same rows.
        rules.append((name.str.contains("\x00", literal=True), Fault(Reason.NOT_TEXT, name_column)))
        rules.append((key.str.contains("\x00", literal=True), Fault(Reason.NOT_TEXT, id_column)))
        return rules


def maker_of(connector: ConnectorSettings, reading: Reading) -> EntityMaker:
    """The connector's `EntityMaker`. Column names, given or default, are spelled as this reading spells them."""
    options = {"id_column": connector.id_column, "name_column": connector.name_column}
    named = {option: reading.spelled(name) for option, name in options.items() if name is not None}
    return EntityMaker(
        connector.model_copy(update=named),
        reading.spelled(reading.id_column),
        reading.spelled(Named.name),
        id_required=reading.id_required,
    )


def _column(field: Field | None) -> str | None:
    return None if field is None else field.column.name


def _unlike(entities: pl.DataFrame) -> pl.DataFrame:
    """Of entities with the same id and digest only the last one, with their number in `alike`."""
    if entities["id"].n_unique() == entities.height:
        return entities.with_columns(alike=pl.lit(1, pl.Int64))
    same = ("id", "digest")
    counted = entities.with_columns(alike=pl.len().over(same).cast(pl.Int64))
    return counted.unique(same, keep="last", maintain_order=True)


def _chosen(columns: dict[str, Field], option: str, named: str | None, default: str, *, strict: bool) -> Field | None:
    if strict and named is not None and named not in columns:
        raise ColumnMissing(named, option, columns)
    return columns.get(default if named is None else named)


def _text(rows: pl.DataFrame, field: Field | None) -> pl.Series | pl.Expr:
    """A column as the text of a name or a key: a JSON string is unquoted, any other JSON text stays as it is."""
    if field is None:
        return pl.lit(None, dtype=pl.String)
    text = rows[field.name].cast(pl.String)
    if not field.column.json:
        return text
    text = text.str.strip_chars()
    column = pl.col(text.name)
    string = column.str.starts_with('"')
    bare = pl.when(column == "null").then(None).when(string).then(column.str.slice(1).str.head(-1)).otherwise(column)
    read = text.to_frame().select(bare=bare, escaped=string & column.str.contains("\\", literal=True))
    escaped = read["escaped"].arg_true()
    return read["bare"].scatter(escaped, [_unescaped(text[place]) for place in escaped])


def _unescaped(text: str) -> str:
    """The value of a JSON string. NUL, which gets the row rejected, if it is invalid or holds a lone surrogate."""
    try:
        said = str(json.loads(text))
        said.encode()
    except ValueError:
        return "\x00"
    return said
