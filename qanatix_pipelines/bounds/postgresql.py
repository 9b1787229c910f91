"""What PostgreSQL says before the first row: a login, some settings, what a query returns. It is never much."""

from struct import Struct
from typing import Any

from qanatix_pipelines.errors import SourceError, SourceFailed

MAX_BYTES = 16 * 2**20
# The types of what our own questions, the driver's, and what is selected out of a user's query have: bool, "char",
# name, integers, text, oid, float8, bpchar, varchar, times, and arrays of names, texts and oids (pg_type.dat).
_FLAT = {16, 18, 19, 20, 21, 23, 25, 26, 701, 1042, 1043, 1114, 1184, 1003, 1009, 1028}
_HEADER = Struct("!cI")  # of a message: its kind, and its length without that
_COUNT = Struct("!H")  # of the columns in a description,
_COLUMN = Struct("!IHIHIH")  # and of each, behind its name: a table, a place there, its type, and more
_DESCRIPTION, _ROW = b"T", b"D"


class BoundedProtocol:
    """Mixed into the driver's protocol, which holds messages of any length, and any number of settings and notices.

    It also reads rows by the types that the server claims, and a record takes what memory and stack it says it needs:
    no row of other types than those that are asked for is let in. Once rows may come, `expect_rows`, nothing is looked
    at any more. Who waits for the driver is told with SourceFailed.
    """

    _transport: Any
    _rows_may_come = False
    _received = 0
    _begun = b""  # what there is of a message that is not whole
    _is_flat = True
    _given_up = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        super().connection_made(transport)  # type: ignore[misc]

    def expect_rows(self) -> None:
        """Rows of what was described last may come. Raises SourceFailed if these were none that was asked for."""
        if not self._is_flat:
            raise SourceFailed(_OTHER_TYPES)
        self._rows_may_come = True

    def data_received(self, data: bytes) -> None:
        if self._given_up:
            return
        try:
            if not self._rows_may_come:
                self._look(data)
            super().data_received(data)  # type: ignore[misc]
        except SourceError as error:
            self.give_up(error)
        except Exception as error:  # noqa: BLE001  # which the loop would log, whatever stands in it
            self.give_up(SourceFailed(f"The source's answer could not be read ({type(error).__name__})."))

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._given_up:
            super().connection_lost(exc)  # type: ignore[misc]

    def give_up(self, reason: SourceError) -> None:
        """Let in nothing more, and tell who waits for something."""
        if not self._given_up:
            self._transport.abort()
            self.connection_lost(reason)
            self._given_up = True

    def _look(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > MAX_BYTES:
            raise SourceFailed("The source says more than there is to say before the first row.")
        data = self._begun + data
        at = 0
        while at + _HEADER.size <= len(data):
            kind, length = _HEADER.unpack_from(data, at)
            if kind == _ROW and not self._is_flat:
                raise SourceFailed(_OTHER_TYPES)
            following = at + 1 + length
            if following > len(data):
                break
            if kind == _DESCRIPTION:
                self._is_flat = _types(data[at + _HEADER.size : following]) <= _FLAT
            at = following
        self._begun = data[at:]


_OTHER_TYPES = "The source's answer is of other types than were asked for."


def _types(description: bytes) -> set[int]:
    (columns,) = _COUNT.unpack_from(description)
    found, at = set(), _COUNT.size
    for _ in range(columns):
        at = description.index(0, at) + 1  # behind the name
        found.add(_COLUMN.unpack_from(description, at)[2])
        at += _COLUMN.size
    return found
