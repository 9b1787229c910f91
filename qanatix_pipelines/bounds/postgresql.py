"""What PostgreSQL says before the first row: a login, some settings, what a query returns. It is never much.

Nor is it of many types: the driver decodes a value by the type that the server says it has, and a record in records, or
an array of so many elements, makes it take memory, or stack, that no message has bytes for. What a user's query returns
is only described, and never decoded.
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
_DESCRIPTION, _PARAMETERS, _NO_DATA, _ERROR = b"TtnE"
_ENDING = ("FATAL", "PANIC")  # severities of errors after which there is no session any more
# Types that are as large in memory as they came, by their OID: bool, bytea, "char", name, int8, int2, int4, text, oid,
# floats, bpchar, varchar, timestamp, timestamptz. What the source's own statements select is of these.
_FLAT = frozenset({16, 17, 18, 19, 20, 21, 23, 25, 26, 700, 701, 1042, 1043, 1114, 1184})


class BoundedProtocol:
    """Mixed into the driver's protocol, which holds messages of any length, and any number of settings and notices.

    Once `rows_may_come`, nothing is looked at any more. Who waits for the driver is told with SourceFailed.

    `farewell` is the SQLSTATE of the error with which the server has ended the session, where it says one. The driver
    forgets what it is told while it waits for nothing.
    """

    _transport: Any
    rows_may_come = False
    farewell: str | None = None
    _given_up = False
    _received = 0
    _prepares = False  # a statement's description is to come,
    _describes = False  # of a user's, that nobody executes so
    _parameters: tuple[int, ...] = ()  # and what that has said of the last one
    _columns: tuple[tuple[str, int], ...] = ()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._held = bytearray()
        super().connection_made(transport)  # type: ignore[misc]

    async def prepare(self, *args: Any, **options: Any) -> Any:
        self._prepares = True
        return await super().prepare(*args, **options)  # type: ignore[misc]

    async def describe(self, query: str) -> tuple[tuple[int, ...], tuple[tuple[str, int], ...]]:
        """What the server expects and returns: the parameters' types, by OID, and the columns' names and types.

        The driver makes no decoder for those types, of which it knows not all.
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
        except Exception as error:  # noqa: BLE001  # which the loop would log, whatever stands in it
            self.give_up(SourceFailed(f"The source's answer could not be read ({type(error).__name__})."))

    def hear(self, data: bytes) -> None:
        """What the server says when rows may come, and it was asked for none: an error is its last word."""
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
        """Whole messages, which were looked at; the rest is held back."""
        self._received += len(data)
        if self._received > MAX_BYTES:
            raise SourceFailed(_TOO_MUCH)
        self._held += data
        at, end = 0, len(self._held)
        while at + _HEADER_BYTES <= end:
            kind, length = _HEADER(self._held, at)
            if length > MAX_MESSAGE_BYTES:
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
        if kind in (_DESCRIPTION, _NO_DATA, _ERROR):  # one of these ends it
            self._prepares = self._describes = False


def _columns(body: bytes) -> tuple[tuple[str, int], ...]:
    """The names and the OIDs of the types of a description's columns."""
    (count,) = _SHORT(body)
    columns, at = [], _SHORT_BYTES
    for _ in range(count):
        end = body.index(b"\0", at)
        name, at = body[at:end].decode(), end + 1
        columns.append((name, _COLUMN.unpack_from(body, at)[2]))
        at += _COLUMN.size
    return tuple(columns)
