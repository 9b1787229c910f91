"""Bounds on what PostgreSQL says before the first row: a login, some settings, the description of a result.

That is never much, so its bytes have a limit. And asyncpg decodes by the type the server names: a few hostile bytes can
name nested records or huge arrays and exhaust memory or stack. So only types on a fixed list are accepted before the
first row. The result of the user's query may have any type, because it is only described here, not decoded.
"""

from struct import Struct
from typing import Any

from qanatix_pipelines.errors import SourceError, SourceFailed

MAX_BYTES = 16 * 2**20
MAX_MESSAGE_BYTES = 2**20

_TOO_MUCH = "The source says more than there is to say before the first row. Is it a PostgreSQL that listens there?"
_UNASKED = "The source's answer has types that were not asked for."
_HEADER = Struct("!BI").unpack_from  # a message's kind, and its length without the kind
_HEADER_BYTES = 5
_SHORT = Struct("!H").unpack_from
_SHORT_BYTES = 2
_COLUMN = Struct("!IHIhih")  # its table and place there, type, and that one's size, modifier and format
_DESCRIPTION, _PARAMETERS, _NO_DATA, _ERROR, _ROW = b"TtnED"
_ENDING = ("FATAL", "PANIC")  # severities of errors after which there is no session any more
# Types whose values take no more memory than their bytes, by OID: bool, bytea, "char", name, int8, int2, int4, text,
# oid, json, floats, bpchar, varchar, timestamp, timestamptz. Our own statements select no others.
_FLAT = frozenset({16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 700, 701, 1042, 1043, 1114, 1184})
# A row of one null.
_NULL_ROW = Struct("!cIHi").pack(b"D", 10, 1, -1)


class BoundedProtocol:
    """Mixed into the driver's protocol, which by itself holds messages of any length and any number of settings.

    It checks each message until `rows_may_come` is set. Whoever waits for the driver then gets SourceFailed for a
    message that breaks the bounds.

    `farewell` is the SQLSTATE of the error with which the server ended the session, if it sent one. The driver forgets
    an error that comes while nobody waits for an answer.
    """

    _transport: Any
    rows_may_come = False
    # The most bytes that a row of one value may have. While a plan is asked for, a larger one is null.
    plan_bytes: int | None = None
    farewell: str | None = None
    _given_up = False
    _received = 0
    _dropping = 0  # bytes of a plan that are still to come and are not held
    _prepares = False  # the description of a statement is due
    _describes = False  # it is the user's statement, which is not executed in this form
    # The last description of a user's statement.
    _parameters: tuple[int, ...] = ()
    _columns: tuple[tuple[str, int], ...] = ()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._held = bytearray()
        super().connection_made(transport)  # type: ignore[misc]

    async def prepare(self, *args: Any, **options: Any) -> Any:
        self._prepares = True
        return await super().prepare(*args, **options)  # type: ignore[misc]

    async def describe(self, query: str) -> tuple[tuple[int, ...], tuple[tuple[str, int], ...]]:
        """The OIDs of the parameters' types, and the name and type OID of each column.

        The driver makes no decoders for these types: it does not know all of them.
        """
        self._describes, self._parameters, self._columns = True, (), ()
        await self.prepare("", query, None, record_class=self.get_record_class())  # type: ignore[attr-defined]
        return self._parameters, self._columns

    def data_received(self, data: bytes) -> None:
        if self._given_up:
            return
        try:
            if not self.rows_may_come:
                data = self._whole(data)
            super().data_received(data)  # type: ignore[misc]
        except SourceError as error:
            self.give_up(error)
        except Exception as error:  # noqa: BLE001  # the loop would log it, with what the server wrote
            self.give_up(SourceFailed(f"The source's answer could not be read ({type(error).__name__})."))

    def hear(self, data: bytes) -> None:
        """Look for the server's last error in `data`, which comes while no rows are asked for."""
        self._held += data[: MAX_MESSAGE_BYTES - len(self._held)]
        while len(self._held) >= _HEADER_BYTES:
            kind, length = _HEADER(self._held)
            following = 1 + max(length, _HEADER_BYTES - 1)
            if following > len(self._held):
                break
            if kind == _ERROR:
                self._hear_error(bytes(self._held[_HEADER_BYTES:following]))
            del self._held[:following]

    def _hear_error(self, body: bytes) -> None:
        fields = {field[:1]: field[1:].decode("ascii", "replace") for field in body.split(b"\0")}
        if fields.get(b"V", fields.get(b"S")) in _ENDING:
            self.farewell = fields.get(b"C")

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._given_up:
            super().connection_lost(exc)  # type: ignore[misc]

    def give_up(self, reason: SourceError) -> None:
        if not self._given_up:
            self._transport.abort()
            self.connection_lost(reason)
            self._given_up = True

    def _whole(self, data: bytes) -> bytes:
        """The whole messages of what has come, each checked. The rest is held until more comes."""
        dropped = min(self._dropping, len(data))
        self._dropping -= dropped
        data = data[dropped:]
        self._received += len(data)
        if self._received > MAX_BYTES:
            raise SourceFailed(_TOO_MUCH)
        self._held += data
        at, end = 0, len(self._held)
        while at + _HEADER_BYTES <= end:
            kind, length = _HEADER(self._held, at)
            if kind == _ROW and self.plan_bytes is not None:
                if length > self.plan_bytes:
                    self._dropping = max(0, at + 1 + length - end)
                    self._held[at : at + 1 + length] = _NULL_ROW
                    end = len(self._held)
                    continue
            elif length > MAX_MESSAGE_BYTES:
                raise SourceFailed(_TOO_MUCH)
            if length < _HEADER_BYTES - 1:
                raise SourceFailed("The source's answer could not be read (a message of no length).")
            following = at + 1 + length
            if following > end:
                break
            self._look(kind, bytes(self._held[at + _HEADER_BYTES : following]))
            at = following
        whole = bytes(self._held[:at])
        del self._held[:at]
        return whole

    def _look(self, kind: int, body: bytes) -> None:
        if kind == _DESCRIPTION:
            if not self._prepares:
                raise SourceFailed(_UNASKED)
            columns = _columns(body)
            if self._describes:
                self._columns = columns
            elif not _FLAT.issuperset(oid for _, oid in columns):
                raise SourceFailed(_UNASKED)
        elif kind == _PARAMETERS and self._describes:
            (count,) = _SHORT(body)
            self._parameters = Struct(f"!{count}I").unpack_from(body, _SHORT_BYTES)
        elif kind == _ERROR:
            self._hear_error(body)
        if kind in (_DESCRIPTION, _NO_DATA, _ERROR):  # each of these ends a description
            self._prepares = self._describes = False


def _columns(body: bytes) -> tuple[tuple[str, int], ...]:
    """The name and type OID of each column in a description."""
    (count,) = _SHORT(body)
    columns, at = [], _SHORT_BYTES
    for _ in range(count):
        end = body.index(b"\0", at)
        name, at = body[at:end].decode(), end + 1
        columns.append((name, _COLUMN.unpack_from(body, at)[2]))
        at += _COLUMN.size
    return tuple(columns)
