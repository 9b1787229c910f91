"""What PostgreSQL says before the first row: a login, some settings, what a query returns. It is never much."""

from typing import Any

from qanatix_pipelines.errors import SourceError, SourceFailed

MAX_BYTES = 16 * 2**20


class BoundedProtocol:
    """Mixed into the driver's protocol, which holds messages of any length, and any number of settings and notices.

    Once `rows_may_come`, nothing is counted any more. Who waits for the driver is told with SourceFailed.
    """

    _transport: Any
    rows_may_come = False
    _received = 0
    _given_up = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        super().connection_made(transport)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        if not self.rows_may_come:
            self._received += len(data)
            if self._received > MAX_BYTES:
                self._give_up(SourceFailed("The source says more than there is to say before the first row."))
        if self._given_up:
            return
        try:
            super().data_received(data)  # type: ignore[misc]
        except SourceError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001  # which the loop would log, whatever stands in it
            self._give_up(SourceFailed(f"The source's answer could not be read ({type(error).__name__})."))

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self._given_up:
            super().connection_lost(exc)  # type: ignore[misc]

    def _give_up(self, reason: SourceError) -> None:
        if not self._given_up:
            self._transport.abort()
            self.connection_lost(reason)
            self._given_up = True
