"""PostgreSQL under settings drawn at random: what a pull brings is what psql prints.

What a pull made of a value is given back to psql as a literal, which must be printed as the value itself is.
"""

import json
import random
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from qanatix_pipelines.errors import SourceError
from tests.servers import Server, new_folder, remove
from tests.settings_table import setting_rows
from tests.sources.postgresql import server as postgresql
from tests.sources.postgresql.psql import PsqlMissing, printed
from tests.types_table import entity_data, type_rows

ROWS = setting_rows("postgresql")
# Where a setting can be made, but for the server.
_PLACES = {"database": "DATABASE drawn", "role": "ROLE drawer", "role in database": "ROLE drawer IN DATABASE drawn"}
# What psql says itself when it connects, in place of what is set.
_SAID = ("client_encoding", "application_name")
# Their values are lists of names, of which one string would make one name.
_LISTS = ("search_path",)

# Whoever sets settings is not to be ended by them.
_UNTOUCHED = " ".join(
    f"-c {setting}"
    for setting in (
        "default_transaction_read_only=off",
        "statement_timeout=0",
        "lock_timeout=0",
        "idle_session_timeout=0",
    )
)
_WORLD = """
CREATE TYPE mood AS ENUM ('happy');
CREATE TYPE pair AS (n int, t text);
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE SCHEMA mine;
GRANT USAGE ON SCHEMA mine TO PUBLIC;
CREATE TABLE public.one AS SELECT 'public' AS whose;
CREATE TABLE mine.one AS SELECT 'mine' AS whose;
CREATE TABLE public.filtered AS SELECT 1 AS n UNION ALL SELECT 2;
ALTER TABLE public.filtered ENABLE ROW LEVEL SECURITY;
CREATE POLICY ones ON public.filtered USING (n = 1);
CREATE VIEW public.seen AS SELECT '2026-03-07 12:00'::timestamp::timestamptz AS at;
GRANT SELECT ON public.one, mine.one, public.filtered, public.seen TO PUBLIC;
"""
# Called as what a pull converts with, and found before that in some search paths.
_OWN_FUNCTIONS = (
    "to_json(int[])",
    "to_json(timestamp)",
    "to_json(date)",
    "to_json(numeric)",
    "timezone(text, timestamptz)",
    "replace(text, text, text)",
    "btrim(text, text)",
    "textcat(text, text)",
    "encode(bytea, text)",
    "concat(inet)",
    "date_part(text, interval)",
    "lower(daterange)",
)


@dataclass(frozen=True)
class Value:
    """An expression and its SQL type. `shown` is what psql is asked for instead, where JSON cannot be given back."""

    expression: str
    type: str
    shown: str = ""


@dataclass(frozen=True)
class Setting:
    """`place` is "database", "role", "role in database" or "server"."""

    name: str
    value: str
    place: str

    @property
    def sql(self) -> str:
        return f"{self.name} = {self.value if self.name in _LISTS else repr(self.value)}"


class World:
    """A database of a server's, and an account that reads it. The server must serve nobody else."""

    def __init__(self, server: Server) -> None:
        owner = server.address
        self._owner = psycopg.connect(owner, autocommit=True, options=_UNTOUCHED)
        self._superuser = psycopg.connect(postgresql.superuser(owner), autocommit=True, options=_UNTOUCHED)
        self._run("CREATE DATABASE drawn", "CREATE ROLE drawer LOGIN PASSWORD 'drawer'")
        parts = urlsplit(owner)
        self.dsn = f"postgresql://drawer:drawer@{parts.hostname}:{parts.port}/drawn"
        with psycopg.connect(f"{owner.rpartition('/')[0]}/drawn", autocommit=True) as connection:
            connection.execute(_WORLD.encode())
            for function in _OWN_FUNCTIONS:
                body = "RETURNS text LANGUAGE sql AS $$ SELECT 'mine' $$"
                connection.execute(f"CREATE FUNCTION mine.{function} {body}".encode())
            columns = ", ".join(f"pg_typeof({row.source})::text" for row in type_rows("postgresql"))
            types = connection.execute(f"SELECT {columns}".encode()).fetchone() or ()
        self._documented = tuple(map(_documented, (row.source for row in type_rows("postgresql")), types))
        self._at_server = False
        # What this server has, and this system: a setting may be newer, a locale not installed.
        self.tried = {row.name: tuple(value for value in row.tried if self._takes(row.name, value)) for row in ROWS}
        self._widest = {
            row.name: row.widest for row in ROWS if row.widest and self.tried[row.name] and row.name not in _SAID
        }

    def close(self) -> None:
        self._owner.close()
        self._superuser.close()

    def draw(self, source: random.Random) -> list[Setting]:
        """Some settings, each somewhere."""
        names = [name for name, values in self.tried.items() if values]
        return [
            Setting(name, source.choice(self.tried[name]), source.choice([*_PLACES, "server"]))
            for name in source.sample(names, source.randint(1, len(names)))
        ]

    def set(self, settings: Iterable[Setting]) -> None:
        """These, and no others that were set here."""
        self._run(*(f"ALTER {place} RESET ALL" for place in _PLACES.values()))
        # To compile so many expressions takes seconds, and a plan that is set to cost much is compiled.
        self._run("ALTER DATABASE drawn SET jit = off")
        self._run(*(f"ALTER {_PLACES[one.place]} SET {one.sql}" for one in settings if one.place != "server"))
        at_server = [f"ALTER SYSTEM SET {one.sql}" for one in settings if one.place == "server"]
        if at_server or self._at_server:
            self._at_server = bool(at_server)
            self._reload(["ALTER SYSTEM RESET ALL", *at_server])

    def differences(self, values: Iterable[Value]) -> list[str]:
        """What psql prints of the values, and of others that settings decide, and a pull does not bring."""
        asked = [*self._documented, *self._settled(), *_COMPUTED, *values]
        selected = ", ".join(f"{value.expression} AS c{place}" for place, value in enumerate(asked))
        (data,) = entity_data("postgresql", {"dsn": self.dsn}, f"SELECT {selected}")
        brought = _raw(data)
        given_back = [_given_back(value, brought[f"c{place}"]) for place, value in enumerate(asked)]
        shown = ", ".join(value.shown or value.expression for value in asked)
        theirs, ours, *doubtful = printed(
            self.dsn, [f"SELECT {shown}", f"SELECT {', '.join(given_back)}", *_DOUBTFUL], self._widest
        )
        assert (theirs.state, ours.state) == ("00000", "00000"), (theirs, ours)
        differing = [
            f"{value.expression}: psql {there!r}, pulled {back}"
            for value, there, here, back in zip(asked, theirs.rows[0], ours.rows[0], given_back, strict=True)
            if there != here
        ]
        for query, answer in zip(_DOUBTFUL, doubtful, strict=True):
            there = answer.rows[0][0] if answer.state == "00000" else answer.state
            here = self._pulled(query)
            if there != here:
                differing.append(f"{query}: psql {there!r}, pulled {here!r}")
        return differing

    def _settled(self) -> Iterator[Value]:
        for name, values in self.tried.items():
            if values and name != "application_name":
                yield Value(f"current_setting('{name}')", "text")

    def _pulled(self, query: str) -> str:
        """A query's one value, or the SQLSTATE with which it fails."""
        try:
            (data,) = entity_data("postgresql", {"dsn": self.dsn}, query)
        except SourceError as error:
            return str(error).partition("SQLSTATE ")[2][:5]
        (value,) = json.loads(data, parse_int=str).values()
        return str(value)

    def _takes(self, name: str, value: str) -> bool:
        try:
            self._run(f"SET {Setting(name, value, 'session').sql}")
        except psycopg.Error as error:
            if error.sqlstate in ("42704", "22023"):
                return False
            raise
        finally:
            self._run("RESET ALL")
        return True

    def _run(self, *statements: str) -> None:
        for statement in statements:
            self._owner.execute(statement.encode())

    def _reload(self, statements: list[str]) -> None:
        """Returns when whoever connects is told the new settings."""
        loaded = "SELECT extract(epoch FROM pg_conf_load_time())"
        before = self._superuser.execute(loaded).fetchone()
        for statement in (*statements, "SELECT pg_reload_conf()"):
            self._superuser.execute(statement.encode())
        for _ in range(1000):
            with psycopg.connect(self.dsn) as connection, suppress(psycopg.Error):
                if connection.execute(loaded).fetchone() != before:
                    return
        raise AssertionError("the server was not reloaded")


def new_world() -> Iterator[World]:
    """One of a server of its own. Skips the test where there is no psql."""
    folder = new_folder("locales", {})
    folder.chmod(0o755)
    server = postgresql.start(environment=_locales(folder))
    try:
        printed(server.address, ["SELECT 1"], {})
        world = World(server)
        yield world
        world.close()
    except PsqlMissing as reason:
        pytest.skip(str(reason))
    finally:
        server.stop()
        remove(folder)


def _locales(folder: Path) -> dict[str, str]:
    """The environment of a server that has these, if the system can make them."""
    for name in ("de_DE", "ja_JP"):
        with suppress(OSError, subprocess.CalledProcessError):
            command = ["localedef", "-i", name, "-f", "UTF-8", str(folder / f"{name}.utf8")]
            subprocess.run(command, check=True, capture_output=True)
    return {"LOCPATH": str(folder)}


def drawn_values(source: random.Random) -> list[Value]:
    """Some of each type."""
    return [value for _ in range(2) for draw in _DRAWN for value in draw(source)]


def _documented(expression: str, type_: str) -> Value:
    # The same where a backslash escapes.
    expression = re.sub(r"(?<!E)'\\x", r"E'\\\\x", expression)
    nested = type_.endswith("[]") or type_ in ("pair", "record")
    return Value(expression, type_, f"pg_catalog.to_json({expression})" if nested else "")


def _raw(data: str) -> dict[str, str]:
    """The fields of a JSON object, as they are written."""
    decoder, at, fields = json.JSONDecoder(parse_int=str, parse_float=str), 1, {}
    while data[at] != "}":
        name, at = decoder.raw_decode(data, at + (data[at] == ","))
        _, end = decoder.raw_decode(data, at + 1)
        fields[name] = data[at + 1 : end]
        at = end
    return fields


# A cast to one of these without a length would cut.
_OF_ANY_LENGTH = {"character": "bpchar", "bit": "varbit"}


def _given_back(value: Value, raw: str) -> str:
    if raw == "null":
        return "NULL"
    if value.shown:
        return f"$q${raw}$q$::json"
    if value.type.endswith("[]"):
        element = value.type.removesuffix("[]")
        elements = f"json_array_elements_text($q${raw}$q$) WITH ORDINALITY AS r(e, n)"
        return f"ARRAY(SELECT e::{element} FROM {elements} ORDER BY n)"
    text = json.loads(raw) if raw.startswith('"') and value.type not in ("json", "jsonb") else raw
    literal = f"$q${text}$q$"
    if value.type == "bytea":
        return f"decode({literal}, 'base64')"
    return f"{literal}::{_OF_ANY_LENGTH.get(value.type, value.type)}"


# What settings decide.
_COMPUTED = (
    Value("'03/04/05'::date", "date"),
    Value("'03/04/05 06:07'::timestamp", "timestamp"),
    Value("'2026-03-07 12:00'::timestamp::timestamptz", "timestamptz"),
    Value("'2026-07-07 12:00+00'::timestamptz::timestamp", "timestamp"),
    Value("'2026-07-07 22:00+00'::timestamptz::date", "date"),
    Value("'2026-07-07 12:00'::timestamptz", "timestamptz"),
    Value("'2026-07-07 12:00 EST'::timestamptz", "timestamptz"),
    Value("date_trunc('day', '2026-07-07 02:00+00'::timestamptz)", "timestamptz"),
    Value("'2026-03-07 12:00+00'::timestamptz + '1 day'::interval", "timestamptz"),
    Value("extract(epoch FROM '2026-07-07 12:00'::timestamp::timestamptz)", "numeric"),
    Value("to_char('2026-07-07 12:00+00'::timestamptz, 'YYYY-MM-DD HH24:MI:SS TZ OF')", "text"),
    Value("to_char('2026-07-07'::date, 'TMMonth TMDay')", "text"),
    Value("to_char(1234567.891, 'L9G999G999D99')", "text"),
    Value("'-1 2:03:04'::interval", "interval"),
    Value("'1-2 -3 4:05'::interval", "interval"),
    Value("'1234.56'::money", "money"),
    Value("'1234.56'::money::numeric", "numeric"),
    Value("(0.1::float8 + 0.2::float8)::text", "text"),
    Value("(1::float8 / 3)::real::text", "text"),
    Value("E'\\\\x61ff00'::bytea::text", "text"),
    Value("xmlelement(name x, E'\\\\x61'::bytea)::text", "text"),
    Value("('{NULL,a}'::text[])[1]", "text"),
    Value("1 = NULL", "boolean"),
    Value("'pg_class'::regclass", "regclass"),
    Value("quote_ident('a')", "text"),
    Value("to_tsvector('the cats and the Katzen')", "tsvector"),
    Value("(SELECT whose FROM one)", "text"),
    Value("json_build_object('at', '2026-07-07 12:00+00'::timestamptz)", "json"),
    Value("to_jsonb('1 day'::interval)", "jsonb"),
    Value("ARRAY['1 day 2 hours'::interval]", "interval[]"),
    Value("ARRAY[0.1::float8 + 0.2::float8]", "float8[]"),
    Value("ARRAY['2026-07-07'::date]", "date[]"),
    Value("ROW(1, '2026-07-07 12:00+00'::timestamptz)", "record",
          "pg_catalog.to_json(ROW(1, '2026-07-07 12:00+00'::timestamptz))"),
)  # fmt: skip
# Those of which settings may make errors, which a pull's must then be, too.
_DOUBTFUL = (
    "SELECT count(*) AS n FROM public.filtered",
    "SELECT 'text'::xml AS x",
    r"SELECT 'a\tb\\' AS t",
    r"SELECT E'it\'s' AS t",
    "SELECT extract(epoch FROM at)::bigint AS n FROM public.seen",
)


def _times(source: random.Random) -> list[Value]:
    year = source.choice([source.randint(1, 9999), source.randint(1890, 2040)])
    at = datetime(year, 3, 1) + timedelta(seconds=source.randrange(306 * 86400))  # noqa: DTZ001  # no zone is the point
    fraction = source.choice(["", ".5", f".{source.randrange(10**6):06}"])
    era = source.choice(["", "", "", " BC"]) if year < 4000 else ""
    local, instant = (
        f"'{at:%Y-%m-%d %H:%M:%S}{fraction}{era}'::timestamp",
        f"'{at:%Y-%m-%d %H:%M:%S}{fraction}+00{era}'::timestamptz",
    )
    local, instant = (re.sub(r"^'\d+", f"'{year:04}", one) for one in (local, instant))
    return [
        Value(local, "timestamp"),
        Value(instant, "timestamptz"),
        Value(f"({instant})::text", "text"),
        Value(f"({local})::text", "text"),
        Value(f"({local})::timestamptz", "timestamptz"),
        Value(f"({instant})::timestamp", "timestamp"),
        Value(f"({instant})::date", "date"),
        Value(f"({instant})::date::text", "text"),
        Value(f"({local})::time", "time"),
        Value(f"({instant})::timetz", "timetz"),
        Value(f"ARRAY[{instant}, NULL]", "timestamptz[]"),
        Value(f"tstzrange({instant}, ({instant}) + '1 day'::interval, '[]')", "tstzrange"),
        Value(f"tsrange(NULL, {local})", "tsrange"),
        Value(f"daterange(({instant})::date, 'infinity')", "daterange"),
        Value(f"datemultirange(daterange(({instant})::date, NULL))", "datemultirange"),
        Value(f"tstzmultirange(tstzrange({instant}, NULL))", "tstzmultirange"),
    ]


def _intervals(source: random.Random) -> list[Value]:
    parts = [source.choice([0, source.randint(-400, 400)]) for _ in range(5)]
    seconds = source.choice(["0", f"{source.uniform(-500, 500):.6f}", str(source.randint(-90, 90))])
    interval = f"make_interval({parts[0]}, {parts[1]}, 0, {parts[2]}, {parts[3]}, {parts[4]}, {seconds})"
    return [Value(interval, "interval"), Value(f"({interval})::text", "text")]


def _numbers(source: random.Random) -> list[Value]:
    double = repr(source.choice([source.uniform(-1, 1), source.uniform(-1, 1) * 10 ** source.randint(-300, 300)]))
    single = repr(source.uniform(-1, 1) * 10 ** source.randint(-30, 30))
    exact = f"{source.randint(-(10**30), 10**30)}.{source.randint(0, 10**9)}"
    cents = source.randint(-(10**10), 10**10)
    return [
        Value(f"'{double}'::float8", "float8"),
        Value(f"'{double}'::float8::text", "text"),
        Value(f"'{single}'::real", "real"),
        Value(f"'{exact}'::numeric", "numeric"),
        Value(f"({source.randint(-(2**63), 2**63 - 1)})::bigint", "bigint"),
        Value(f"({cents} / 100.0)::numeric::money", "money"),
        Value(f"point('{single}'::real, 2)", "point"),
        Value(f"ARRAY['{exact}'::numeric]", "numeric[]"),
    ]


def _texts(source: random.Random) -> list[Value]:
    text = "".join(chr(source.choice([*range(32, 36), *range(37, 127), 0xE9, 0x20AC, 0x1F600])) for _ in range(20))
    octets = source.randbytes(source.randint(0, 8)).hex()
    address = ".".join(str(source.randint(0, 255)) for _ in range(4))
    return [
        Value(f"$t${text}$t$::text", "text"),
        Value(f"$t${text}$t$::char(30)", "character"),
        Value(f"to_jsonb($t${text}$t$::text)", "jsonb"),
        Value(f"ARRAY[$t${text}$t$::text]", "text[]"),
        Value(f"pg_catalog.decode('{octets}', 'hex')", "bytea"),
        Value(f"pg_catalog.decode('{octets}', 'hex')::text", "text"),
        Value(f"'{address}'::inet", "inet"),
        Value(f"'{address}'::cidr", "cidr"),
    ]


_DRAWN: tuple[Callable[[random.Random], list[Value]], ...] = (_times, _intervals, _numbers, _texts)
