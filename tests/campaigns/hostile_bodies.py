"""Sixty bodies that no connector can be registered with. Each that can holds a canary, which no answer may hold."""

import gzip
import json
import zlib
from typing import Any

CANARY = "canary-7f3a9c-hunter2"
GOOD: dict[str, Any] = {
    "name": CANARY,
    "connector_type": "postgresql",
    "vertical": "manufacturing",
    "entity_type": "part",
    "connection_config": {"dsn": f"postgresql://reader:{CANARY}@db.internal/shop"},
    "query": f"SELECT '{CANARY}' AS name",
}
_TEXT = json.dumps(GOOD)
_UTF_8 = "application/json"


def _with(**fields: Any) -> bytes:
    return json.dumps(GOOD | fields).encode()


def _raw(field: str, literal: str) -> bytes:
    """The good body with a field of this literal, which Python would not write."""
    return f"{_TEXT[:-1]}, {json.dumps(field)}: {literal}}}".encode()


def _config(**config: Any) -> bytes:
    return _with(connection_config=config)


# What is sent, and as which type and encoding.
BODIES: list[tuple[bytes, str, str | None]] = [
    (body, _UTF_8, None)
    for body in (
        # no JSON at all
        b"{",
        b'{"name": ' + CANARY.encode(),
        _TEXT.encode()[:-1],
        _TEXT.encode() + b"}",
        _TEXT.encode() * 2,
        _TEXT.replace('"', "'").encode(),
        b"\xef\xbb\xbf" + _TEXT.encode(),
        _TEXT.encode().replace(b"canary", b"can\xffary", 1),
        _TEXT.encode().replace(b"canary", b"can\xed\xa0\x80ary", 1),
        _TEXT.encode().replace(b"canary", b"can\xc0\x80ary", 1),
        _TEXT.encode().replace(b"canary", b"can\x00ary", 1),
        _TEXT.encode().replace(b"canary", b"can\nary", 1),
        _TEXT.replace("canary", "\\xcanary", 1).encode(),
        b"<!--" + CANARY.encode() + b"-->",
        f"// {CANARY}\n{_TEXT}".encode(),
        # JSON, but of a kind that is not taken
        _raw("batch_size", "NaN"),
        _raw("batch_size", "-Infinity"),
        _raw("batch_size", "1e400"),
        _raw("batch_size", "-1e999999999"),
        _raw("batch_size", str(2**63)),
        _raw("batch_size", "9" * 4300),
        _raw("batch_size", "1" * 60_000),
        _raw("name", f'"{CANARY}"'),
        _raw("overlap", '"\\ud800"'),
        _raw(CANARY + "\ud800", "1"),
        _raw(f"postgresql://a:{CANARY}@b", "1"),
        _raw(f"{CANARY} {CANARY}", "1"),
        b"[" * 65_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        # no connector
        b"[]",
        json.dumps([GOOD]).encode(),
        json.dumps(CANARY).encode(),
        b"null",
        b"true",
        b"-0",
        _with(name={"a": CANARY}),
        _with(name="\u202e" + CANARY),
        _with(name=CANARY * 100),
        _with(connector_type=CANARY),
        _with(vertical=f"{CANARY}/"),
        _with(entity_type=[CANARY]),
        _with(query=f"{CANARY}'"),
        _with(query=f'SELECT 1; DROP TABLE "{CANARY}"'),
        _with(name_column=CANARY * 20),
        _with(batch_size=CANARY),
        _with(batch_size=1.5),
        _with(batch_size=True),
        _with(overlap=-1),
        _with(cursor_column="\x00" + CANARY),
        _with(id=CANARY),
        _with(connection_config=CANARY),
        _config(dsn=f"mysql://{CANARY}"),
        _config(dsn=f"postgresql://a:{CANARY}@b:notaport/c"),
        _config(dsn=[CANARY]),
        _config(dsn=f"postgresql://a:{CANARY}@b/c?passfile={CANARY}"),
        _config(dsn=f"postgresql://a:{CANARY}@[::1/c"),
        _config(**{f"{CANARY}=": 1}),
        b'{"name":"' + CANARY.encode() * 4000 + b'"}',
    )
] + [
    (_TEXT.encode(), "text/plain", None),
    (_TEXT.encode(), "application/json; charset=utf-16", None),
    (_TEXT.encode(), f"{CANARY}/{CANARY}", None),
    (_TEXT.encode("utf-16"), _UTF_8, None),
    (_TEXT.encode("utf-32-be"), _UTF_8, None),
    (gzip.compress(_TEXT.encode()), _UTF_8, "gzip"),
    (zlib.compress(b" " * 10_000_000), _UTF_8, "deflate"),
    (_TEXT.encode(), _UTF_8, CANARY),
]
