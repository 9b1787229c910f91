"""Rows become entities."""

import hashlib
import json
from typing import Any
from uuid import RFC_4122, UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.batches import MAX_ROW_BYTES, Batch, Column, Named
from qanatix_pipelines.connectors import ConnectorSettings
from qanatix_pipelines.entities import EntityBatch, EntityMaker
from qanatix_pipelines.errors import ResultUnusable
from qanatix_pipelines.rejections import OVERSIZED, Fault, Reason, Rejection
from qanatix_pipelines.sources.documents import Gathering

ID, NAME = Column("id", "int4", pl.Int64), Column("name", "text", pl.String)
PRICE = Column("price", "numeric", pl.String, json=True)


def connector(**fields: Any) -> ConnectorSettings:
    given = {"name": "x", "connector_type": "postgresql", "vertical": "v", "entity_type": "t", "query": "SELECT 1"}
    return ConnectorSettings.model_validate(given | fields)


def batch(columns: tuple[Column, ...], *rows: tuple[Any, ...]) -> Batch:
    schema = {column.name: column.dtype for column in columns}
    return Batch(pl.DataFrame(list(rows), schema=schema, orient="row"), columns)


def make(columns: tuple[Column, ...], *rows: tuple[Any, ...], **fields: Any) -> EntityBatch:
    return EntityMaker(connector(**fields)).make(batch(columns, *rows))


def data(entities: EntityBatch) -> list[str]:
    return entities.frame["data"].to_list()


def test_a_row_is_its_name_its_key_and_the_rest() -> None:
    entities = make((ID, NAME, PRICE), (1, "Bolt", "12.50"), name_column="name")

    row = entities.frame.row(0, named=True)
    assert (row["source_id"], row["name"], row["data"]) == ("1", "Bolt", '{"id":1,"price":12.50}')


def test_the_digest_is_sha_256_of_name_and_data() -> None:
    row = make((ID, NAME), (1, "Bolt")).frame.row(0, named=True)

    assert row["digest"] == hashlib.sha256(b'"Bolt"\n{"id":1}').digest()


def test_the_order_of_columns_changes_nothing() -> None:
    forward, backward = make((ID, NAME, PRICE), (1, "Bolt", "2")), make((PRICE, NAME, ID), ("2", "Bolt", 1))

    assert forward.frame.equals(backward.frame)


def test_a_key_is_one_entity_of_its_set_only() -> None:
    ids = {
        make((ID, NAME), (1, "Bolt"), **fields).frame["id"][0]
        for fields in ({}, {"vertical": "w"}, {"entity_type": "u"}, {"name": "another connector"})
    }

    assert len(ids) == 3


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ((ID, NAME), (1, "Bolt"), "b60ade8d-a433-8f88-9828-662d6dc00d7c"),
        ((NAME, PRICE), ("Bolt", "1"), "ff332b27-22b1-8263-ade4-e49cd8161e86"),
    ],
    ids=["of a key", "of its content"],
)
def test_an_id_is_always_the_same(columns: tuple[Column, ...], row: tuple[Any, ...], expected: str) -> None:
    """Those that stores have must be found again."""
    assert UUID(bytes=make(columns, row).frame["id"][0]) == UUID(expected)


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=1))
def test_an_id_is_made_of_sha_256_over_set_and_key_or_content(keys: list[str | None]) -> None:
    columns = (Column("id", "text", pl.String), Column("n", "int4", pl.Int64))

    frame = make(columns, *((key, row) for row, key in enumerate(keys))).frame

    for key, entity_id, digest in frame.select("source_id", "id", "digest").iter_rows():
        said = f"content {digest.hex()}" if key is None else f"key {key}"
        bits = int(hashlib.sha256(f"v\x00t\x00{said}".encode()).hexdigest()[:32], 16)
        bits = bits & ~(0xF << 76) | 8 << 76  # the version
        bits = bits & ~(0b11 << 62) | 0b10 << 62  # the variant
        assert entity_id == bits.to_bytes(16, "big")


def test_an_id_is_a_uuid_of_version_8() -> None:
    entity_id = UUID(bytes=make((ID,), (1,)).frame["id"][0])

    assert (entity_id.version, entity_id.variant) == (8, RFC_4122)


def test_without_a_key_the_content_is_the_identity() -> None:
    entities = make((NAME, PRICE), ("Bolt", "1"), ("Bolt", "1"), ("Bolt", "2"))

    assert (entities.frame.height, entities.duplicates) == (2, 1)
    assert entities.frame["source_id"].to_list() == [None, None]


def test_of_rows_with_one_key_those_that_differ_are_kept_in_the_order_of_their_last_ones() -> None:
    entities = make((ID, NAME), (1, "old"), (2, "other"), (1, "new"), (1, "old"), (1, "new"))

    assert entities.frame.select("source_id", "name", "alike").rows() == [
        ("2", "other", 1),
        ("1", "old", 2),
        ("1", "new", 2),
    ]
    assert entities.duplicates == 2


def test_rows_whose_key_is_null_are_counted() -> None:
    assert make((ID, NAME), (None, "a"), (2, "b"), (None, "a"), name_column="name").keyless == 2


@pytest.mark.parametrize(
    ("columns", "fields", "roles"),
    [
        ((ID, NAME), {}, ("id", "name")),
        ((PRICE,), {}, (None, None)),
        ((ID, NAME, PRICE), {"id_column": "price", "name_column": "id"}, ("price", "id")),
    ],
)
def test_which_columns_are_the_key_and_the_name_is_told(
    columns: tuple[Column, ...], fields: dict[str, str], roles: tuple[str | None, str | None]
) -> None:
    maker = EntityMaker(connector(**fields))
    maker.check(columns)

    assert maker.roles == roles


def test_another_column_may_be_the_key() -> None:
    assert make((ID, NAME), (1, "Bolt"), id_column="name").frame["source_id"].to_list() == ["Bolt"]


@pytest.mark.parametrize("name", [None, "", "  \t"])
def test_a_row_without_a_name_is_rejected_where_one_was_asked_for(name: str | None) -> None:
    entities = make((ID, NAME), (1, "a"), (2, name), (3, "c"), name_column="name")

    assert [(rejection.row, rejection.reason) for rejection in entities.rejections] == [(2, Reason.NAME_MISSING)]
    assert entities.frame["source_id"].to_list() == ["1", "3"]


def test_rejected_rows_are_counted_from_the_first_batch() -> None:
    maker = EntityMaker(connector(name_column="name"))
    maker.make(batch((ID, NAME), (1, "a"), (2, "b")))

    assert [rejection.row for rejection in maker.make(batch((ID, NAME), (3, None))).rejections] == [3]


def test_a_name_that_was_not_asked_for_may_be_null() -> None:
    assert make((ID, NAME), (1, None)).frame["name"].to_list() == [None]


def test_a_name_with_nul_is_rejected() -> None:
    entities = make((ID, NAME), (1, "a\x00b"))

    assert [rejection.reason for rejection in entities.rejections] == [Reason.NOT_TEXT]


@pytest.mark.parametrize("text", [r'"\ud800"', r'"x\udc00"', r'"\ud800\ud800"', r'"\udc00\ud800x"', r'"\u0000"'])
@pytest.mark.parametrize("name", ["id", "name"])
def test_a_key_or_a_name_of_json_that_is_no_text_is_rejected_and_no_other_row(name: str, text: str) -> None:
    columns = (Column(name, "json", pl.String, json=True), Column("n", "int4", pl.Int64))

    entities = make(columns, ('"a"', 1), (text, 2), (r'"\ud83e\uddc0"', 3))

    assert [(rejection.row, rejection.reason) for rejection in entities.rejections] == [(2, Reason.NOT_TEXT)]
    assert entities.frame["source_id" if name == "id" else "name"].to_list() == ["a", "🧀"]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00")), st.booleans())
def test_a_string_of_json_is_the_key_that_it_says(key: str, ascii_only: bool) -> None:
    written = json.dumps(key, ensure_ascii=ascii_only)

    entities = make((Column("id", "json", pl.String, json=True),), (f" {written} ",))

    assert entities.frame["source_id"].to_list() == [key]


@pytest.mark.parametrize("option", ["name_column", "id_column"])
def test_a_named_column_that_is_not_there_is_told_with_those_that_are(option: str) -> None:
    with pytest.raises(ResultUnusable, match=f"'title', which the connector's {option} names.* 'id', 'name'"):
        EntityMaker(connector(**{option: "title"})).check((ID, NAME))


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(ResultUnusable, match="more than one column called 'id'"):
        EntityMaker(connector()).check((ID, NAME, ID))


@pytest.mark.parametrize(
    ("expected", "column", "value"),
    [
        ("1", Column("c", "int8", pl.Int64), 1),
        ("true", Column("c", "bool", pl.Boolean), True),
        ('"NaN"', Column("c", "float8", pl.Float64), float("nan")),
        ('"-Infinity"', Column("c", "float8", pl.Float64), float("-inf")),
        ('"inf"', Column("c", "text", pl.String), "inf"),
        ("12.50", Column("c", "numeric", pl.String, json=True), "12.50"),
        ("null", Column("c", "text", pl.String), None),
        ("null", Column("c", "numeric", pl.String, json=True), None),
        ('"null"', Column("c", "text", pl.String), "null"),
    ],
)
def test_a_value_becomes_json(expected: str, column: Column, value: Any) -> None:
    assert data(make((column,), (value,))) == [f'{{"c":{expected}}}']


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_every_text_survives(text: str) -> None:
    (made,) = data(make((Column("c", "text", pl.String),), (text,)))

    assert json.loads(made) == {"c": text}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives(number: float) -> None:
    (made,) = data(make((Column("c", "float8", pl.Float64),), (number,)))

    assert json.loads(made, parse_int=float)["c"] == number


@given(st.text(min_size=1, alphabet=st.characters(codec="utf-8")))
def test_every_column_name_survives(name: str) -> None:
    (made,) = data(make((Column(name, "int4", pl.Int64),), (1,), name_column=None))

    if name != "name":
        assert json.loads(made) == {name: 1}


@pytest.mark.parametrize("name", ["*", "^.*$", "^b$", "^[$", "c0", "row", "data", "unreadable", "literal"])
def test_a_columns_name_is_only_a_name(name: str) -> None:
    columns = (Column(name, "int4", pl.Int64), Column("b", "int4", pl.Int64))

    entities = make(columns, (1, 2), name_column=name)

    assert entities.frame["name"].to_list() == ["1"]
    assert data(entities) == ['{"b":2}']


@pytest.mark.parametrize("text", ["broken", '{"a":1', "NaN", "", "[" * 100_000, '1,"forged":2', "01", "- 1", "\x00"])
def test_a_row_whose_json_nobody_could_read_is_rejected(text: str) -> None:
    entities = make((ID, PRICE), (1, "1.5"), (2, text), (3, '"NaN"'))

    assert [(rejection.row, rejection.reason) for rejection in entities.rejections] == [(2, Reason.NOT_JSON)]
    assert entities.frame["source_id"].to_list() == ["1", "3"]


def test_a_number_of_any_length_is_read() -> None:
    assert data(make((PRICE,), ("1" * 10_000,), ('{"a":' + "1" * 10_000 + "}",))) != []


def test_a_row_whose_text_is_larger_than_16_mib_is_rejected() -> None:
    text = Column("c", "text", pl.String)
    room = MAX_ROW_BYTES - len('{"c":"","id":1}')

    entities = make((ID, text), (1, "x" * room), (2, "x" * (room + 1)), (3, "x"))

    assert [(rejection.row, rejection.reason) for rejection in entities.rejections] == [(2, Reason.ROW_TOO_LARGE)]
    assert entities.frame["source_id"].to_list() == ["1", "3"]


def test_a_rows_size_is_that_of_its_bytes_and_holds_its_name() -> None:
    entities = make((ID, NAME), (1, "é" * (MAX_ROW_BYTES // 2)), (2, "e" * (MAX_ROW_BYTES // 2)))

    assert [(rejection.row, rejection.reason) for rejection in entities.rejections] == [(1, Reason.ROW_TOO_LARGE)]


def test_a_row_that_its_source_found_too_large_is_rejected_for_that_whatever_it_lacks() -> None:
    whole = batch((ID, NAME), (1, "a"), (None, None), (3, None))

    entities = EntityMaker(connector(name_column="name")).make(Batch(whole.frame, whole.columns, {1: OVERSIZED}))

    assert [(rejection.row, rejection.reason) for rejection in entities.rejections] == [
        (2, Reason.ROW_TOO_LARGE),
        (3, Reason.NAME_MISSING),
    ]


def test_a_row_with_a_fault_that_its_source_found_is_rejected_with_its_key_and_column() -> None:
    whole = batch((ID, NAME), (1, "a"), (2, None), (3, "c"))
    fault = Fault(Reason.NOT_UTF8, "name")

    entities = EntityMaker(connector()).make(Batch(whole.frame, whole.columns, {1: fault}))

    assert entities.rejections == [Rejection(2, "2", Reason.NOT_UTF8, "name")]
    assert entities.frame["source_id"].to_list() == ["1", "3"]


def test_a_rejection_names_the_column_that_is_meant_and_the_rows_key() -> None:
    key, body = Column("number", "text", pl.String), Column("body", "json", pl.String, json=True)
    rows = (("a", "x", "1"), ("b", "  ", "1"), ("c", "x\x00", "1"), ("d\x00", "x", "1"), ("e", "x", "{"))

    entities = make((key, NAME, body), *rows, id_column="number", name_column="name")

    assert entities.rejections == [
        Rejection(2, "b", Reason.NAME_MISSING, "name"),
        Rejection(3, "c", Reason.NOT_TEXT, "name"),
        Rejection(4, None, Reason.NOT_TEXT, "number"),
        Rejection(5, "e", Reason.NOT_JSON, "body"),
    ]


def test_a_key_that_is_too_long_to_look_for_is_not_told() -> None:
    key = Column("id", "text", pl.String)

    entities = make((key, NAME), ("x" * 500, None), ("x" * 501, None), name_column="name")

    assert [rejection.key for rejection in entities.rejections] == ["x" * 500, None]


def test_a_row_without_a_key_is_rejected_where_its_source_says_so_and_there_is_a_column_of_keys() -> None:
    rows, keyless = batch((ID, NAME), (1, "a"), (None, "b")), batch((NAME,), ("a",))

    torn = EntityMaker(connector(), id_required=True)

    assert torn.make(rows).rejections == [Rejection(2, None, Reason.KEY_MISSING, "id")]
    assert make((ID, NAME), (1, "a"), (None, "b")).rejections == []
    assert EntityMaker(connector(), id_required=True).make(keyless).rejections == []


class TestDocuments:
    """Where each row is an object already, with fields of its own."""

    def test_a_field_that_is_not_there_is_left_out(self) -> None:
        made = made_of({"a": "1"}, {"b": '"x"'}, {"b": "[2]", "a": "null"}, {})

        assert data(made) == ['{"a":1}', '{"b":"x"}', '{"a":null,"b":[2]}', "{}"]

    def test_documents_may_have_no_field_at_all(self) -> None:
        assert data(made_of({})) == ["{}"]

    def test_a_name_of_any_type_is_text_and_leaves_the_data(self) -> None:
        rows = ({"title": text} for text in ('"a \\"b\\""', "1.50", '{"x":1}'))
        frame = made_of(*rows, name_column="title").frame

        assert frame["name"].to_list() == ['a "b"', "1.50", '{"x":1}']
        assert frame["data"].to_list() == ["{}", "{}", "{}"]

    def test_a_name_that_is_null_or_missing_is_rejected(self) -> None:
        rows = ({"title": "null", "a": "1"}, {"a": "2"}, {"title": '"x"', "a": "3"})

        assert [rejection.row for rejection in made_of(*rows, name_column="title").rejections] == [1, 2]

    def test_a_later_batch_may_lack_the_name_column_altogether(self) -> None:
        maker, gathering = EntityMaker(connector(name_column="title")), Gathering(1, "document", Named(name="title"))
        gathering.add({"title": '"x"', "a": "1"})
        first, second = gathering.add({"a": "1"}), gathering.rest()
        assert first
        assert second

        assert [len(maker.make(batch).rejections) for batch in (first, second)] == [0, 1]

    def test_a_name_that_none_of_the_first_batch_has_is_missing(self) -> None:
        with pytest.raises(ResultUnusable, match=r"'title'.*columns are 'a'"):
            made_of({"a": "1"}, name_column="title")


def made_of(*rows: dict[str, str], **fields: Any) -> EntityBatch:
    settings = connector(**fields)
    gathering = Gathering(len(rows), "document", Named("id", settings.name_column or "name"))
    for row in rows:
        gathering.add(row, row.get("id"))
    whole = gathering.rest()
    assert whole
    return EntityMaker(settings).make(whole)
