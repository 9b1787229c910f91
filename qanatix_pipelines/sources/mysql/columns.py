"""What MySQL and MariaDB tell of a result's columns. The driver does not know MariaDB's extended metadata.

With it, MariaDB tells of each column whether its text is JSON, be it from a table, a view, a UNION or a function. A bit
in the handshake asks for it (MariaDB's manual, "Connecting to the server" and "Result set packets":
MARIADB_CLIENT_EXTENDED_METADATA, since 10.5.2). It needs no privilege.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_CLIENT_MYSQL = 1  # a client that does not set it knows MariaDB's own capabilities
_EXTENDED_METADATA = 1 << 3  # one of those capabilities, which stand in the last four bytes of the handshake's filler
_HANDSHAKE_BYTES = 32  # the request for TLS is as long; with TLS, MariaDB takes the capabilities from there
_CHARSET_AT, _EXTENDED_AT = 8, 28
# utf8mb4_0900_ai_ci, the mysql client's default since 8.0. The driver says utf8mb4_general_ci, which is MariaDB's.
_MYSQL_8_CHARSET = 255
_FORMAT = 1
_FIXED_BYTES = 13


@dataclass(frozen=True)
class ColumnDefinition:
    """A column of a result. The driver itself uses `type_code`, `flags`, `charsetnr` and `description()`.

    `table` is the schema and name of the table or view that the column comes from, if it comes from one. `length` of a
    BIT is in bits. `format` is "json" or empty.
    """

    name: str
    table: tuple[str, str] | None
    org_name: str
    charsetnr: int
    length: int
    type_code: int
    flags: int
    format: str

    def description(self) -> tuple[str, int]:
        return self.name, self.type_code


class Columns:
    """Mixed into the driver's connection: asks for the extended metadata, and reads each column's definition."""

    server_version: str
    _mariadb_ext_caps: int
    _client_flag: int
    _connected: bool
    _extended = False
    _greeted = False

    async def _get_server_information(self) -> None:
        await super()._get_server_information()  # type: ignore[misc]
        self._greeted = True
        self._extended = bool(self._mariadb_ext_caps & _EXTENDED_METADATA)
        if self._extended:
            self._client_flag &= ~_CLIENT_MYSQL

    @property
    def is_mariadb(self) -> bool:
        return "MariaDB" in self.server_version

    def write_packet(self, payload: bytes) -> None:
        """Change the packets of the handshake, which ask for more than the driver does. All others are left alone."""
        if (
            self._greeted
            and len(payload) >= _HANDSHAKE_BYTES
            and payload[:4] == self._client_flag.to_bytes(4, "little")
        ):
            changed = bytearray(payload)
            if self._extended:
                changed[_EXTENDED_AT] |= _EXTENDED_METADATA
            elif not self.is_mariadb and int(self.server_version.split(".", 1)[0]) >= 8:  # noqa: PLR2004
                changed[_CHARSET_AT] = _MYSQL_8_CHARSET
            payload = bytes(changed)
            self._greeted = len(payload) == _HANDSHAKE_BYTES  # after a request for TLS the handshake comes again
        super().write_packet(payload)  # type: ignore[misc]

    async def read_packet(self, *kind: Any) -> Any:
        """The driver passes a `kind` for a column's definition only."""
        packet = await super().read_packet()  # type: ignore[misc]
        return definition(packet.get_all_data(), extended=self._extended) if kind else packet


def definition(packet: bytes, *, extended: bool) -> ColumnDefinition:
    """Reads Protocol::ColumnDefinition41. Raises IndexError or UnicodeDecodeError for a packet that is none."""
    texts, end = [], 0
    for _ in range(7 if extended else 6):
        text, end = _text(packet, end)
        texts.append(text)
    _, schema, _, table, name, org_name = (text.decode() for text in texts[:6])
    fixed = packet[end : end + _FIXED_BYTES]
    if len(fixed) < _FIXED_BYTES - 2:
        raise IndexError
    return ColumnDefinition(
        name=name,
        table=(schema, table) if table else None,
        org_name=org_name,
        charsetnr=int.from_bytes(fixed[1:3], "little"),
        length=int.from_bytes(fixed[3:7], "little"),
        type_code=fixed[7],
        flags=int.from_bytes(fixed[8:10], "little"),
        format=dict(_chunks(texts[6])).get(_FORMAT, b"").decode() if extended else "",
    )


def _chunks(extended: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(extended):
        kind = extended[at]
        text, at = _text(extended, at + 1)
        yield kind, text


def _text(packet: bytes, start: int) -> tuple[bytes, int]:
    """A length-encoded string, and where it ends."""
    length, start = packet[start], start + 1
    if length == 0xFC:  # noqa: PLR2004
        length, start = int.from_bytes(packet[start : start + 2], "little"), start + 2
    elif length > 0xFC:  # noqa: PLR2004  # no name is so long
        raise IndexError
    return packet[start : start + length], start + length
