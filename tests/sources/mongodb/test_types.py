"""Every line of docs/types/mongodb.md, inserted into the server and pulled out of it."""

import json
import re

import bson
import pytest
from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.raw_bson import RawBSONDocument

from tests.sources.mongodb.harness import MongoDBHarness
from tests.types_table import TypeRow, entity_data, type_rows

EXAMPLES = type_rows("mongodb")
CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, datetime_conversion=DatetimeConversion.DATETIME_MS
)


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{example.type}: {example.source}" for example in EXAMPLES])
def test_a_value_becomes_what_the_table_says(mongodb_harness: MongoDBHarness, example: TypeRow) -> None:
    document = RawBSONDocument(_document(b"value", example.source))
    with mongodb_harness.database() as database:
        database.items.drop()
        database.items.insert_one(document)

    assert entity_data("mongodb", mongodb_harness.config, "{}") == [f'{{"_id":1,"value":{example.entity}}}']


def test_the_table_has_every_type_of_bson() -> None:
    numbers = {int(number) for example in EXAMPLES for number in re.findall(r"\((-?\d+)\)", example.type)}

    assert numbers == {*range(1, 20), -1, 127}


def _document(field: bytes, value: str) -> bytes:
    """A document with `_id` 1 and the field. The driver writes no deprecated types, so those are written by hand."""
    given = json.loads(value)
    match given:
        case {"$undefined": True}:
            element = b"\x06" + field + b"\0"
        case {"$symbol": str(text)}:
            element = b"\x0e" + field + b"\0" + _string(text)
        case {"$dbPointer": {"$ref": str(collection), "$id": {"$oid": str(oid)}}}:
            element = b"\x0c" + field + b"\0" + _string(collection) + bytes.fromhex(oid)
        case _:
            element = bson.encode({field.decode(): json_util.loads(value, json_options=CANONICAL)})[4:-1]
    body = b"\x10_id\0\x01\0\0\0" + element + b"\0"
    return (len(body) + 4).to_bytes(4, "little") + body


def _string(text: str) -> bytes:
    encoded = text.encode() + b"\0"
    return len(encoded).to_bytes(4, "little") + encoded
