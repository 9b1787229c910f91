"""A table of many types, queries of it, and what the own client's text of each value is in an entity."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

# A server's own zone, in which it is started: one with summer time, behind UTC.
SYSTEM_ZONE = "America/New_York"

TABLE = (
    "SET NAMES utf8mb4",
    "SET SESSION sql_mode = '', SESSION time_zone = '+00:00'",
    "DROP TABLE IF EXISTS every",
    """CREATE TABLE every (
      id int PRIMARY KEY, big bigint unsigned, amount decimal(20, 4), small float, wide double, padded int(6) zerofill,
      active bit(1), eight bit(8), made year, day date, local_at datetime(3), at timestamp(6) NULL, span time(2),
      code char(5), body text, bytes varbinary(10), kind enum('x', 'y'), members set('a', 'b'), d json)""",
    r"""INSERT INTO every VALUES
      (1, 18446744073709551615, '1234567890123456.7890', 0.1, 0.1, 42,
       b'1', b'10000001', 2026, '2026-03-08', '2026-03-08 02:30:00.5', '2026-01-02 03:04:05.678901', '-838:59:59',
       'ab', 'é \'q\' \\ \t 😀', x'00ff', 'x', 'a,b', '{"a": [1, 2.50, true, null, "é"]}'),
      (2, 0, '-0.0001', -1.5e20, -1.7976931348623157e308, 0,
       b'0', 49, 0, '0000-00-00', '0000-00-00', '2026-07-08 12:00:00', '12:34:56.78',
       '', 'B', x'00', 'y', '', '[]'),
      (3, 7, '0', 0, 0, 123456,
       b'1', 255, 1999, '2026-00-10', '1999-12-31 23:59:59.999', '1970-01-02', '00:00:00',
       'É', '', x'31', 'x', 'b', '"text"')""",
    "INSERT INTO every (id) VALUES (4)",
)

# What each column is: n a number, s text, t local time, z an instant, x bytes, b bits, f a flag of one bit, j JSON.
QUERIES: tuple[tuple[str, str], ...] = (
    ("SELECT id, big, amount, small, wide, made, padded FROM every ORDER BY id", "nnnnnnn"),
    ("SELECT id, day, local_at, at, span FROM every ORDER BY id", "nstzs"),
    ("SELECT id, code, body, kind, members FROM every ORDER BY id", "nssss"),
    ("SELECT id, active, eight, bytes, d FROM every ORDER BY id", "nfbxj"),
    (
        "SELECT id, UNIX_TIMESTAMP(local_at) AS u, at = local_at AS e, at > '2026-07-08' AS g FROM every ORDER BY 1",
        "nnnn",
    ),
    (
        "SELECT id, CAST(at AS DATETIME(6)) AS l, CAST(at AS CHAR) AS c, at + INTERVAL 1 DAY FROM every ORDER BY 1",
        "ntst",
    ),
    ("SELECT MAX(at) AS m, MIN(at) AS l, COUNT(*) AS c, MAX(active) AS a FROM every", "zznf"),
    ("SELECT id, COALESCE(at, at) AS a, IF(id = 1, at, NULL) AS i FROM every ORDER BY id", "nzz"),
    ("SELECT FROM_UNIXTIME(1772965800) AS f, UNIX_TIMESTAMP('2026-07-01 00:00:00') AS u", "tn"),
    ("SELECT 'a' = 'A' AS a, 'e' = 'é' AS b, 'a' < 'B' AS c, 'a' = 'a ' AS d", "nnnn"),
    ("SELECT CONCAT('a' || 'b', '') AS a, NOT 1 BETWEEN 0 AND 2 AS b, '' IS NULL AS c", "snn"),
    ("SELECT id, CAST(big AS SIGNED) AS s, big - 8 AS m FROM every WHERE id = 3", "nnn"),
    ("SELECT 1 / 3 AS a, 22 / 7e0 AS b, AVG(amount) AS c, SUM(wide) AS d FROM every", "nnnn"),
    ("SELECT GROUP_CONCAT(body ORDER BY id) AS g, GROUP_CONCAT(REPEAT('x', 2000)) AS r FROM every", "ss"),
    (
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1500) SELECT COUNT(*) AS c FROM n",
        "n",
    ),
    ("SELECT a.id, b.id AS b FROM every AS a CROSS JOIN every AS b ORDER BY 1, 2", "nn"),
    ("SELECT DAYNAME('2026-03-08') AS a, MONTHNAME(day) AS b, WEEK('2026-01-02') AS c FROM every WHERE id = 1", "ssn"),
    ("SELECT CHAR_LENGTH(code) AS l, CONCAT('[', code, ']') AS c FROM every WHERE id = 1", "ns"),
    ("SELECT TIME'12:00:00.7' AS a, CAST('2026-01-02 03:04:05.6' AS DATETIME) AS b, CAST('1' AS DATE) AS c", "sts"),
    ("SELECT id, COUNT(*) AS c FROM every GROUP BY kind ORDER BY id", "nn"),
    ("SELECT JSON_OBJECT('a', id, 'b', body) AS o, JSON_EXTRACT(d, '$.a[1]') AS e FROM every WHERE id = 1", "jj"),
    ("SELECT id FROM every WHERE id IS NULL", "n"),
    ("SELECT 'x' REGEXP 'X' AS a, 'ab' LIKE 'A%' AS b, REPEAT('y', 3000) AS c", "nns"),
    ("SELECT HEX(AES_ENCRYPT('a', '0123456789012345', '0123456789012345')) AS a", "s"),
    (
        "SELECT id, SUM(small) OVER (ORDER BY id) AS s, FIRST_VALUE(at) OVER (ORDER BY id) AS f FROM every ORDER BY id",
        "nnz",
    ),
    ("SELECT body FROM every ORDER BY body", "s"),
    ("SELECT id, at FROM every UNION ALL SELECT id, at FROM every WHERE id = 1 ORDER BY id", "nz"),
    ("SELECT DISTINCT kind, members FROM every ORDER BY 1, 2", "ss"),
    (
        "SELECT CAST(local_at AS TIME) AS a, DATEDIFF(day, '2026-01-01') AS b, day + 0 AS c FROM every ORDER BY id",
        "snn",
    ),
)


def converted(rows: Sequence[Sequence[str | None]], kinds: str, zone: str) -> list[list[Any]]:
    """The client's rows as what an entity's JSON says."""
    return [[_converted(text, kind, zone) for text, kind in zip(row, kinds, strict=True)] for row in rows]


def _converted(text: str | None, kind: str, zone: str) -> Any:
    if text is None or (kind in "xbf" and text == "0x"):  # so it writes NULL there
        return None
    return _CONVERTED[kind](text, zone)


def _names_a_day(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _utc(text: str, zone: str) -> str:
    if zone == "SYSTEM":
        at = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(SYSTEM_ZONE))
    else:
        at = datetime.fromisoformat(f"{text}{zone}")
    utc = at.astimezone(ZoneInfo("UTC")).isoformat(timespec="seconds").removesuffix("+00:00")
    return f"{utc}{text[19:]}Z"


def _number(text: str) -> float:
    return float(text) if any(sign in text for sign in ".e") else int(text)


def _bits(text: str) -> int:
    return int(text.removeprefix("0x"), 16)


_CONVERTED: dict[str, Callable[[str, str], Any]] = {
    "n": lambda text, _: _number(text),
    "s": lambda text, _: text,
    "t": lambda text, _: text.replace(" ", "T") if _names_a_day(text) else text,
    "z": lambda text, zone: _utc(text, zone) if _names_a_day(text) else text,
    "x": lambda text, _: base64.b64encode(bytes.fromhex(text.removeprefix("0x"))).decode(),
    "b": lambda text, _: _bits(text),
    "f": lambda text, _: _bits(text) & 1,  # MariaDB may send it as a digit, 0x30 or 0x31
    "j": lambda text, _: json.loads(text),
}
