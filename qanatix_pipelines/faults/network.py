"""What it means for the caller that there is no talking to a source: the same for every driver."""

import socket
import ssl

from qanatix_pipelines.errors import SourceError, SourceUnreachable, TlsFailed


def network_fault(cause: BaseException | None, seconds: int) -> SourceError:
    """`cause` is what connecting failed with, and `seconds` how long it might take."""
    if isinstance(cause, ssl.SSLError):
        return TlsFailed("The source's TLS certificate could not be verified, or its TLS is unusable.")
    if isinstance(cause, TimeoutError):
        return SourceUnreachable(f"The source did not answer within {seconds} seconds.", transient=True)
    if isinstance(cause, ConnectionError) and not isinstance(cause, ConnectionRefusedError):
        return connection_lost()
    return SourceUnreachable(
        "The source could not be reached: no such host, or nothing listens there.",
        transient=isinstance(cause, OSError) and not isinstance(cause, socket.gaierror),
    )


def connection_lost() -> SourceError:
    """There was a connection, and it is gone."""
    return SourceUnreachable("The source closed the connection, or it broke.", transient=True)
