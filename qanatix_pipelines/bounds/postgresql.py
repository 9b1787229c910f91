"""What PostgreSQL says before the first row: a login, some settings, what a query returns. It is never much.

Nor is it of many types: the driver decodes a value by the type that the server says it has, and a record in records, or
an array of so many elements, makes it take memory, or stack, that no message has bytes for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct
from typing import Any

from qanatix_pipelines.errors import SourceError, SourceFailed

MAX_BYTES = 16 * 2**20
MAX_MESSAGE_BYTES = 2**20

_TOO_MUCH = "The source says more than there is to say before the first row."
_UNASKED = "The source's answer has types that were not asked for."
_HEADER = Struct("!BI").unpack_from  # a message's kind, and its length without the kind
_HEADER_BYTES = 5
_SHORT = Struct("!H").unpack_from
_LONG = Struct("!i").unpack_from
_SHORT_BYTES = 2
_ARRAY_HEAD_BYTES = 12  # dimensions, flags and the elements' type; then follows how many there are
_COLUMN = Struct("!IHIhih")  # its table and place there, type, and that one's size, modifier and format
_ROW, _DESCRIPTION, _NO_DATA, _ERROR = b"DTnE"
_ENDING = ("FATAL", "PANIC")  # severities of errors after which there is no session any more
# Types that are as large in memory as they came, by their OID: bool, "char", name, int8, int2, int4, text, oid, float8,
# bpchar, varchar, timestamp, timestamptz. What the source's own statements select is of these.
_FLAT = frozenset({16, 18, 19, 20, 21, 23, 25, 26, 701, 1042, 1043, 1114, 1184})
_ARRAYS = frozenset({1009, 1028})  # text[] and oid[], of which there are some where the driver asks about types


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
    _describes = False  # a statement's description is to come,
    _of_any_type = False  # of a statement that nobody executes,
    _types = _FLAT  # or else of these types;
    _arrays: frozenset[int] = frozenset()  # the columns of the last one that are arrays

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._held = bytearray()
        super().connection_made(transport)  # type: ignore[misc]

    @contextmanager
    def any_types(self) -> Iterator[None]:
        """Meanwhile a statement is prepared whose columns may have any types, and which must not be executed.

        The driver asks about those types.
        """
        self._of_any_type, self._types = True, _FLAT | _ARRAYS
        try:
            yield
        finally:
            self._of_any_type, self._types = False, _FLAT

    async def prepare(self, *args: Any, **options: Any) -> Any:
        self._describes = True
        return await super().prepare(*args, **options)  # type: ignore[misc]

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
        if kind == _ROW:
            if self._arrays:
                _check_arrays(body, self._arrays)
        elif kind == _DESCRIPTION:
            if not self._describes:
                raise SourceFailed(_UNASKED)
            types = [] if self._of_any_type else _types(body)
            if not self._types.issuperset(types):
                raise SourceFailed(_UNASKED)
            self._arrays = frozenset(place for place, oid in enumerate(types) if oid in _ARRAYS)
        elif kind == _ERROR:
            self._hear_error(body)
        if kind in (_DESCRIPTION, _NO_DATA, _ERROR):  # one of these ends it
            self._describes = self._of_any_type = False


def _types(body: bytes) -> list[int]:
    """The OIDs of the columns' types in a description."""
    (columns,) = _SHORT(body)
    types, at = [], _SHORT_BYTES
    for _ in range(columns):
        at = body.index(b"\0", at) + 1
        types.append(_COLUMN.unpack_from(body, at)[2])
        at += _COLUMN.size
    return types


def _check_arrays(body: bytes, places: frozenset[int]) -> None:
    """Raise SourceFailed where one of a row's arrays says that it has more elements than bytes."""
    (values,) = _SHORT(body)
    at = _SHORT_BYTES
    for place in range(values):
        (size,) = _LONG(body, at)
        at += 4
        if place in places and size > 0:
            (dimensions,) = _LONG(body, at)
            if dimensions and (dimensions != 1 or _LONG(body, at + _ARRAY_HEAD_BYTES)[0] > size):
                raise SourceFailed("The source's answer has arrays of more elements than it says.")
        at += max(0, size)
