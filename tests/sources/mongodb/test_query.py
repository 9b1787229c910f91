"""The connection string and the query of a MongoDB connector, checked without a connection."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from qanatix_pipelines.errors import (
    InvalidConnector,
    LoginRefused,
    QueryRejected,
    SourceError,
    SourceFailed,
    SourceTimeout,
)
from qanatix_pipelines.sources import check_connector
from qanatix_pipelines.sources.mongodb.config import parse_mongo_uri
from qanatix_pipelines.sources.mongodb.faults import explained
from qanatix_pipelines.sources.mongodb.query import MAX_BYTES, MAX_DEPTH, parse_mongo_query

URI = "mongodb://reader:s3cret@db.internal:27018/shop"
SINCE = datetime(2024, 1, 15, 10, 0, 0, 123_999, tzinfo=UTC)
MILLISECONDS = 1_705_312_800_123


def test_a_uri_is_taken_apart() -> None:
    uri = parse_mongo_uri(
        "mongodb://re%40der:s%2F%23t@[::1]:27018/shop?authMechanism=SCRAM-SHA-1&readPreference=nearest"
    )

    assert (uri.host, uri.port, uri.user, uri.password) == ("::1", 27018, "re@der", "s/#t")
    assert (uri.auth_source, uri.auth_mechanism, uri.read_preference) == ("shop", "SCRAM-SHA-1", "nearest")


@pytest.mark.parametrize(
    ("end", "auth_source"),
    [("", "admin"), ("/", "admin"), ("/shop", "shop"), ("/shop?authSource=users", "users"), ("/?AUTHSOURCE=u", "u")],
)
def test_a_user_is_known_in_the_named_database(end: str, auth_source: str) -> None:
    assert parse_mongo_uri(f"mongodb://u:p@host{end}").auth_source == auth_source


@pytest.mark.parametrize(
    ("host", "option", "tls"),
    [
        ("db.internal", "", True),
        ("10.0.0.1", "", True),
        ("localhost", "", False),
        ("127.0.0.9", "", False),
        ("[::1]", "", False),
        ("db.internal", "?tls=false", False),
        ("localhost", "?tls=true", True),
    ],
)
def test_tls_is_off_only_towards_this_machine_or_where_it_is_said(host: str, option: str, tls: bool) -> None:
    assert parse_mongo_uri(f"mongodb://u:p@{host}/{option}").tls is tls


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("mongodb+srv://u:s3cret@db.internal/", r"mongodb\+srv"),
        ("http://u:s3cret@db.internal/", "begin with mongodb://"),
        ("mongodb://u:s3cret@a,b/", "not a list"),
        ("mongodb://u:s3cret@a:1,b:2/", "not a"),
        ("mongodb://u:s3cret@%2Ftmp%2Fmongodb-27017.sock/", "one host"),
        ("mongodb://u:s3cret@/", "one host"),
        ("mongodb://u:s3cret@db:0/", "port"),
        ("mongodb://u:s3cret@db:99999/", "valid URI"),
        ("mongodb://db.internal/", "both a user and a password"),
        ("mongodb://u@db.internal/", "both a user and a password"),
        ("mongodb://:s3cret@db.internal/", "both a user and a password"),
        ("mongodb://u:s3cret@db/#x", "'#'"),
        ("mongodb://u:s3cret@db/a/b", "one database"),
        ("mongodb://u:s3cret%00@db/", "control"),
        ("mongodb://u:s3cret@db/?tls=maybe", "unknown tls"),
        ("mongodb://u:s3cret@db/?tls=true&TLS=false", "tls twice"),
        ("mongodb://u:s3cret@db/?authSource=", "authSource without"),
        ("mongodb://u:s3cret@db/?authMechanism=MONGODB-OIDC", "unknown authMechanism"),
        ("mongodb://u:s3cret@db/?authMechanism=PLAIN", "unknown authMechanism"),
        ("mongodb://u:s3cret@db/?authMechanism=MONGODB-X509", "unknown authMechanism"),
        ("mongodb://u:s3cret@db/?tlsinsecure=true", "tlsInsecure"),
        ("mongodb://u:s3cret@db/?tlsCAFile=/etc/passwd", "tlsCAFile"),
        ("mongodb://u:s3cret@db/?replicaSet=rs0", "replicaSet"),
        ("mongodb://u:s3cret@db/?compressors=zlib", "compressors"),
        ("mongodb://u:s3cret@db/?directConnection=false", "directConnection"),
        ("mongodb://u:s3cret@db/?s3cret=1", "one of its options"),
    ],
)
def test_a_uri_is_refused_without_being_shown(uri: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse_mongo_uri(uri)

    assert "s3cret" not in str(refused.value)
    assert "/etc" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@given(st.text(min_size=4), st.sampled_from(["mongodb://u:{}@db/", "mongodb://u:p@db/?{}=1", "mongodb://{}", "{}"]))
def test_no_part_of_a_refused_uri_is_shown(part: str, form: str) -> None:
    marked = f"Zq{part}qZ"
    try:
        parse_mongo_uri(form.format(marked))
    except ValueError as refused:
        assert "Zq" not in str(refused)  # noqa: PT017  # most texts are fine


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"host": "db"}, ("connection_config", "host")),
        ({"uri": "mongodb://db/"}, ("connection_config", "uri")),
        ({"database": "a/b"}, ("connection_config", "database")),
        ({"database": ""}, ("connection_config", "database")),
        ({"collection": "system.users"}, ("connection_config", "collection")),
        ({"collection": "$cmd"}, ("connection_config", "collection")),
        ({"collection": 7}, ("connection_config", "collection")),
    ],
)
def test_a_config_names_the_field_that_is_wrong(changed: dict[str, Any], field: tuple[str, ...]) -> None:
    config = {"uri": URI, "database": "shop", "collection": "orders"}
    check_connector("mongodb", config, "{}")

    with pytest.raises(InvalidConnector) as refused:
        check_connector("mongodb", config | changed, "{}")

    assert refused.value.field == field
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (18, LoginRefused),
        (13, LoginRefused),
        (50, SourceTimeout),
        (2, QueryRejected),
        (51091, QueryRejected),
        (8, SourceFailed),
        (None, SourceFailed),
        ("secretive", SourceFailed),
    ],
)
def test_a_servers_error_is_sorted_by_its_code(code: object, kind: type[SourceError]) -> None:
    error = explained(code)

    assert type(error) is kind
    assert "secretive" not in str(error)


def test_an_object_is_a_filter() -> None:
    query = parse_mongo_query('{"status": "open"}')

    assert (query.filter, query.projection, query.sort) == ({"status": "open"}, None, None)


def test_an_object_with_a_filter_and_nothing_foreign_has_parts() -> None:
    query = parse_mongo_query('{"filter": {"a": 1}, "projection": {"a": 1, "b.c": true, "_id": 0}, "sort": {"a": -1}}')

    assert (query.filter, query.projection, query.sort) == ({"a": 1}, {"a": 1, "b.c": True, "_id": 0}, {"a": -1})


def test_a_field_called_filter_beside_others_is_a_field() -> None:
    assert parse_mongo_query('{"filter": "red", "size": 1}').filter == {"filter": "red", "size": 1}


def test_a_filter_on_the_field_filter_alone_takes_the_long_form() -> None:
    assert parse_mongo_query('{"filter": {"filter": "red"}}').filter == {"filter": "red"}
    with pytest.raises(QueryRejected, match="is written"):
        parse_mongo_query('{"filter": "red"}')


def test_extended_json_is_read_in_both_its_forms() -> None:
    query = parse_mongo_query(
        json.dumps(
            {
                "a": {"$oid": "65a1b2c3d4e5f60718293a4b"},
                "b": {"$gt": {"$date": "2024-01-15T10:00:00.57+01:00"}},
                "c": {"$in": [{"$date": {"$numberLong": "-62167219200001"}}, {"$numberDecimal": "1.10"}]},
            }
        )
    )

    assert query.filter == {
        "a": ObjectId("65a1b2c3d4e5f60718293a4b"),
        "b": {"$gt": DatetimeMS(1_705_309_200_570)},
        "c": {"$in": [DatetimeMS(-62_167_219_200_001), Decimal128("1.10")]},
    }


def test_last_pull_is_a_date_at_any_depth_and_a_value_only() -> None:
    query = parse_mongo_query(
        '{"$or": [{"a": {"$gt": ":last_pull"}}, {":last_pull": "not :last_pull"}], "b": ":last_pull"}'
    )
    date = DatetimeMS(MILLISECONDS)

    assert query.asked.last_pull
    assert query.bound(SINCE, integer=False) == {
        "$or": [{"a": {"$gt": date}}, {":last_pull": "not :last_pull"}],
        "b": date,
    }
    assert not parse_mongo_query('{":last_pull": "not :last_pull"}').asked.last_pull


def test_the_first_pull_binds_the_least_date_and_where_one_is_computed_with_the_year_one() -> None:
    query = parse_mongo_query(
        '{"a": {"$gte": ":last_pull"}, "$expr": {"$gt": ["$b", {"$subtract": [":last_pull", 1]}, ":last_pull"]}}'
    )

    assert query.bound(None, integer=False) == {
        "a": {"$gte": DatetimeMS(-(2**63))},
        "$expr": {"$gt": ["$b", {"$subtract": [DatetimeMS(-62_135_596_800_000), 1]}, DatetimeMS(-(2**63))]},
    }


@given(st.datetimes(timezones=st.just(UTC)))
def test_last_pull_is_never_later_than_it_should_be_nor_a_millisecond_earlier(since: datetime) -> None:
    bound = parse_mongo_query('{"a": ":last_pull"}').bound(since, integer=False)["a"]
    read_as = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(bound))

    assert timedelta(0) <= since - read_as < timedelta(milliseconds=1)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00$")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\x00$"), max_size=5), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(plain)
def test_what_has_no_operator_arrives_as_it_was_written(value: Any) -> None:
    query = parse_mongo_query(json.dumps({"filter": {"field": value}}))

    assert query.filter == {"field": value}


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("", "line 1, column 1"),
        ('{"a": 1,\n "b" 2}', "line 2, column 6"),
        ("[]", "must be a JSON object"),
        ('"x"', "must be a JSON object"),
        ('{"a": NaN}', "NaN or Infinity"),
        ('{"a": [1e400]}', r"a\[0\] is out of"),
        ('{"a": ' + "1" * 5000 + "}", "too long"),
        ('{"a": 9223372036854775808}', "64 bits"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"a\\u0000": 1}', "NUL"),
        ('{"a": {"b": 1, "b": 2}}', "key b twice"),
        ('{"a": "' + "x" * MAX_BYTES + '"}', "64 KiB"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "32 levels"),
        ("[" * 60_000, "not JSON|32 levels"),
        ('{"$where": "sleep(1000)"}', r"\$where is not"),
        ('{"a": {"$not": {"$where": "1"}}}', r"a\.\$not\.\$where is not"),
        ('{"$or": [{"a": 1}, {"$where": "1"}]}', r"\$or\[1\]\.\$where is not"),
        ('{"$expr": {"$function": {"body": "", "args": [], "lang": "js"}}}', r"\$expr\.\$function is not"),
        ('{"$expr": {"$gt": [{"$accumulator": {}}, 1]}}', r"\$expr\.\$gt\[0\]\.\$accumulator is not"),
        ('{"$expr": {"$regexMatch": {}}}', r"\$regexMatch is not"),
        ('{"a": {"$near": [1, 2]}}', r"a\.\$near is not"),
        ('{"$text": {"$search": "x"}}', r"\$text is not"),
        ('{"$jsonSchema": {}}', r"\$jsonSchema is not"),
        ('{"a": {"$add": [1, 2]}}', r"a\.\$add is not"),
        ('{"a": {"$code": "1"}}', r"a\.\$code is not"),
        ('{"a": {"$regex": "' + "x" * 257 + '"}}', r"a\.\$regex is longer"),
        ('{"a": {"$regularExpression": {"pattern": "' + "x" * 257 + '", "options": ""}}}', "a is longer"),
        ('{"a": {"$oid": "x"}}', r"a is not a value in .*: \$oid"),
        ('{"a": {"$date": "yesterday"}}', r"a is not a value in .*: \$date"),
        ('{"a": {"$date": "2024-01-15T10:00:00"}}', r"a is not a value in .*: \$date"),
        ('{"a": {"$date": ":last_pull"}}', r"within \$date: write it alone"),
        ('{"a": {"$numberLong": "x"}}', r"a is not a value in .*: \$numberLong"),
        ('{"a": {"$oid": "65a1b2c3d4e5f60718293a4b", "b": 1}}', r"a has something beside \$oid"),
        ('{"$oid": "65a1b2c3d4e5f60718293a4b"}', "single value"),
        ('{"filter": {}, "projection": {"a": {"$slice": 1}}}', r"projection\.a\.\$slice is not a field"),
        ('{"filter": {}, "projection": {"a.$": 1}}', r"projection\.a\.\$ is not a field"),
        ('{"filter": {}, "projection": {"a": "$b"}}', r"projection\.a must be"),
        ('{"filter": {}, "projection": {"a": 2}}', r"projection\.a must be"),
        ('{"filter": {}, "projection": [1]}', "projection must be"),
        ('{"filter": {}, "sort": {"$natural": 1}}', r"sort\.\$natural must be"),
        ('{"filter": {}, "sort": {"a": {"$meta": "textScore"}}}', r"sort\.a must be"),
        ('{"filter": {}, "sort": {}}', "sort must be"),
        ('{"filter": {"a": 1}, "sort": {"a": 1}, "limit": 100}', "key limit is not one.*filter, projection and sort"),
        ('{"filter": {}, "hint": "a_1"}', "key hint is not one"),
        ('{"filter": {}, "collation": {"locale": "de"}}', "key collation is not one"),
        ('{"filter": {"$or": [{"a": 1}]}, "skip": 1}', "key skip is not one"),
        ('{"filter": {}, "projecton": {"a": 1}}', "key projecton is not one"),
        ('{"fitler": {"a": 1}, "sort": {"a": 1}}', "key fitler, but none that is filter"),
        ('{"Filter": {}}', "key Filter, but none"),
        ('{"projecton": {"a": 1}}', "key projecton, but none"),
        ('{"sort": {"a": {"$numberInt": "-1"}}}', "key sort, but none"),
        ('{"projection": {"a": 1}, "limit": 5}', "key limit, which would be a field"),
        ('{"filter": "x"}', "filter must be an object"),
        ('{"filter": {}, "sort": {"a": {"$numberInt": "2"}}}', r"sort\.a must be"),
        ('{"filter": {}, "sort": {"a": {"$numberInt": "x"}}}', "not a value in MongoDB's extended JSON"),
        ('{"filter": {}, "projection": {"a": {"$numberLong": "7"}}}', r"projection\.a"),
        ('{"$newest": 5}', r"\$newest is not"),
    ],
)
def test_a_query_is_refused_where_it_is_wrong(query: str, problem: str) -> None:
    config = {"uri": URI, "database": "shop", "collection": "orders"}

    with pytest.raises(InvalidConnector, match=problem) as refused:
        check_connector("mongodb", config, query)

    assert refused.value.field == ("query",)


@pytest.mark.parametrize(
    "query",
    [
        '{"limit": 100, "skip": {"$gt": 5}}',
        '{"filter": "x", "status": 1}',
        '{"filter": {"$gt": 5}, "status": 1}',
        '{"filter": {"$oid": "65a1b2c3d4e5f60718293a4b"}, "status": 1}',
        '{"filters": {"$exists": true}}',
        '{"sort": "price", "projection": 2}',
        '{"sort": {"by": "price"}}',
    ],
)
def test_a_filter_on_fields_that_are_called_like_options_is_a_filter(query: str) -> None:
    assert parse_mongo_query(query).filter.keys() == json.loads(query).keys()


def test_canonical_extended_json_is_taken_in_sort_and_projection() -> None:
    query = parse_mongo_query(
        '{"filter": {}, "projection": {"a": {"$numberInt": "1"}, "b": {"c": {"$numberLong": "1"}}},'
        ' "sort": {"a": {"$numberDouble": "-1.0"}, "b": {"$numberDecimal": "1"}}}'
    )

    assert query.projection == {"a": 1, "b": {"c": 1}}
    assert query.sort == {"a": -1, "b": 1}


@given(
    st.text()
    | plain.map(json.dumps)
    | st.recursive(
        st.sampled_from(["$date", "$oid", "$or", "a", 1]),
        lambda i: st.dictionaries(
            st.sampled_from(
                [
                    "$date",
                    "$binary",
                    "$uuid",
                    "$timestamp",
                    "$numberDecimal",
                    "$regularExpression",
                    "$and",
                    "a",
                    "pattern",
                    "t",
                ]
            ),
            i,
        ),
    ).map(json.dumps)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        query = parse_mongo_query(text)
    except QueryRejected:
        return
    assert isinstance(query.bound(SINCE, integer=False), dict)


@pytest.mark.parametrize("value", ["$oid", "$date", "$minKey", "$regularExpression", "$binary", "$numberLong", "$uuid"])
def test_no_operator_hides_beside_a_value(value: str) -> None:
    with pytest.raises(QueryRejected):
        parse_mongo_query(json.dumps({"$regex": ["x"], value: 1, "$where": "sleep(1000)"}))


def test_a_nesting_of_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 2
    parse_mongo_query('{"a": ' + "[" * depth + "1" + "]" * depth + "}")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('{"a": {"$gt": 1}', "The query is not JSON, from line 1, column 17 on: a comma, or the end of what is open,"),
        (
            "{'a': 1}",
            "from line 1, column 2 on: a name in double quotes should stand there; texts and names stand in double",
        ),
        ("{a: 1}", "names stand in double quotes"),
        ('{"a": ISODate("2026-01-31")}', 'a date is written {"$date": "2026-01-31T12:00:00Z"}'),
        ('{"a": ObjectId("65a1b2c3d4e5f60718293a4b")}', 'an id is written {"$oid": "..."}'),
        ('db.orders.find({"a": 1})', "give the filter alone: the collection is named in connection_config"),
    ],
)
def test_what_is_no_json_is_told_with_its_place_and_what_to_write(query: str, expected: str) -> None:
    with pytest.raises(QueryRejected) as refused:
        parse_mongo_query(query)

    assert expected in str(refused.value)
