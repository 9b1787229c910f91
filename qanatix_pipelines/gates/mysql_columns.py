"""What MySQL and MariaDB say of a result's columns, MariaDB's extended metadata among it, which the driver knows not.

A MariaDB that is asked for it says of each column whether its text is JSON, wherever it comes from: a table, a view, a
UNION, a function. It is asked by a bit of its own in the handshake (MariaDB's manual, "Connecting to the server" and
"Result set packets": MARIADB_CLIENT_EXTENDED_METADATA, since 10.5.2), and needs no privilege.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_CLIENT_MYSQL = 1  # not set, it says that the client knows MariaDB's own capabilities
_EXTENDED_METADATA = 1 << 3  # among those, which stand in the handshake's last four bytes of filler
_HANDSHAKE_BYTES = 32  # and in the request for TLS, of which MariaDB takes them then
_CHARSET_AT, _EXTENDED_AT = 8, 28
# utf8mb4_0900_ai_ci, as the mysql client says by default since 8.0; the driver says utf8mb4_general_ci, MariaDB's.
_MYSQL_8_CHARSET = 255
_FORMAT = 1
_FIXED_BYTES = 13


@dataclass(frozen=True)
class ColumnDefinition:
    """A column of a result. The driver reads `type_code`, `flags`, `charsetnr` and `description()` off it.

    `table` is the table's or view's own schema and name, where the column is one's. `format` is "json" or empty.
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
        """The handshake's packets say more than the driver would; what answers the server's questions is left alone."""
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
            self._greeted = len(payload) == _HANDSHAKE_BYTES  # the request for TLS: the handshake comes again
        super().write_packet(payload)  # type: ignore[misc]

    async def read_packet(self, *kind: Any) -> Any:
        """Only a column's definition is a kind of its own."""
        packet = await super().read_packet()  # type: ignore[misc]
        return definition(packet.get_all_data(), extended=self._extended) if kind else packet


def definition(packet: bytes, *, extended: bool) -> ColumnDefinition:
    """Reads Protocol::ColumnDefinition41. Raises IndexError or UnicodeDecodeError for what is none."""
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
