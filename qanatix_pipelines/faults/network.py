"""What it means for the caller that there is no talking to a source: the same for every driver."""

import ssl

from qanatix_pipelines.errors import SourceError, SourceUnreachable, TlsFailed


def network_fault(cause: BaseException | None, seconds: int) -> SourceError:
    """`seconds` is how long an answer was waited for."""
    if isinstance(cause, ssl.SSLError):
        return TlsFailed("The source's TLS certificate could not be verified, or its TLS is unusable.")
    if isinstance(cause, TimeoutError):
        return SourceUnreachable(f"The source did not answer within {seconds} seconds.")
    return SourceUnreachable("The source could not be reached: no such host, or nothing listens there.")
