"""What errors of the network mean for the caller: the same for every driver.

Towards a network that is closed to pulls, none of these sentences is told: there it is always `address_refused`.
"""

import errno
import re
import socket
import ssl
from collections.abc import Iterator

from qanatix_pipelines.errors import SourceError, SourceFailed, SourceUnreachable, TlsFailed

_NO_NAME = (
    "The source's host name does not resolve. Check how it is spelt, and that the machine where pulls run knows it."
)
_NO_RESOLVER = (
    "The source's host name could not be looked up: the name server of the machine where pulls run gave no answer."
)
_NO_LISTENER = (
    "Nothing listens at the source's host and port: the connection was refused. Check the port, that the server runs, "
    "and that it listens on this address and not only on its own machine's 127.0.0.1."
)
_NO_WAY = (
    "The source's host cannot be reached from the machine where pulls run: there is no way to its network. Check the "
    "address, and the routes and the firewall between."
)
_UNREACHED = "The source could not be reached. Check its host and its port."
_WAYLESS = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}

# OpenSSL's verification results (X509_STORE_CTX_get_error(3)).
_CERTIFICATES = (
    {9: "it is not valid yet", 10: "it has expired", 23: "it was revoked"}
    | dict.fromkeys((18, 19, 20, 21), "it was not issued by an authority that the machine where pulls run trusts")
    | dict.fromkeys((62, 64), "it is not this host's")
)
# OpenSSL's reasons for an answer that is no TLS.
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE"}


def network_fault(error: BaseException, seconds: int, *, otherwise: SourceError | None = None) -> SourceError:
    """What it means that connecting failed with `error`, or with a driver's error that has it as a cause.

    `seconds` is the time that connecting had. If there is no error of the network behind it, it means `otherwise`.
    """
    known = (_fault(cause, seconds) for cause in causes_of(error))
    return next((fault for fault in known if fault is not None), otherwise or SourceUnreachable(_UNREACHED))


def connection_lost() -> SourceError:
    """The error for a connection that was open, and is gone."""
    return SourceUnreachable(
        "The source closed the connection, or it broke. If it always does, check that a server of this type listens at "
        "its host and port.",
        transient=True,
    )


def unreadable(error: Exception, *, closed: bool) -> SourceError:
    """What an exception means that the driver raised by itself. `closed` says that its connection is closed.

    On a closed connection a driver may raise anything: that it is closed, that it holds half a message, or that it is
    in an impossible state.
    """
    if closed:
        return connection_lost()
    return SourceFailed(f"The source's answer could not be read ({type(error).__name__}).")


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, also where a driver hides them with `from None`."""
    behind: BaseException | None = error
    while behind is not None:
        yield behind
        behind = behind.__cause__ or behind.__context__


def _fault(error: BaseException, seconds: int) -> SourceError | None:
    match error:
        case ssl.SSLError():
            return _tls_fault(error)
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return SourceUnreachable(_NO_RESOLVER)
        case socket.gaierror() | UnicodeError():  # a name that no host can have is not looked up
            return SourceUnreachable(_NO_NAME)
        case TimeoutError():
            return SourceUnreachable(
                f"The source did not answer within {seconds} seconds. Check its host and its port, that a server "
                "of this type listens there, and that no firewall between drops what is sent.",
                transient=True,
            )
        case OSError():
            return _socket_fault(error)
        case _:
            return None


def _socket_fault(error: OSError) -> SourceError:
    # For a host with several addresses, asyncio's error has no number. Its text has one for each address.
    numbers = {error.errno} if error.errno else {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    if isinstance(error, ConnectionRefusedError) or errno.ECONNREFUSED in numbers:
        return SourceUnreachable(_NO_LISTENER, transient=True)
    if numbers & _WAYLESS:
        return SourceUnreachable(_NO_WAY, transient=True)
    if isinstance(error, ConnectionError):
        return connection_lost()
    return SourceUnreachable(_UNREACHED, transient=True)


def _tls_fault(error: ssl.SSLError) -> SourceError:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _CERTIFICATES.get(getattr(error, "verify_code", 0), "its chain does not hold")
        return TlsFailed(f"The source's TLS certificate could not be verified: {why}.")
    if getattr(error, "reason", None) in _NOT_TLS:
        return TlsFailed("What answers at the source's host and port offers no TLS there.")
    return TlsFailed("The source's TLS is unusable: it and the machine where pulls run agree on no way to encrypt.")
