"""Every exception of aiohttp and the operating system, turned into ours; the one place where that happens.

Foreign exceptions end here: those of aiohttp hold the request with its headers, and do not pickle.
"""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError

from ..errors import (
    APITimeoutError,
    ClientClosedError,
    ConnectError,
    ConnectionLostError,
    ProtocolError,
    TLSError,
    printable,
)
from .base import TransportError

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
"""What the system says when it has no more sockets, ports or memory to give."""


_CLOSED = frozenset({"Session is closed", "Connector is closed.", "Event loop is closed"})
"""What aiohttp and asyncio say in a RuntimeError when it is too late."""


def translate(error: Exception) -> TransportError:
    """Return what `error` means for the call during which it was raised."""
    # An expired or wrong certificate is also an OSError and a ValueError, so TLS comes first.
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return TransportError(TLSError(_tls(error)), request_sent=False, max_retries=0)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return TransportError(APITimeoutError("no connection was made in time", phase="connect"), request_sent=False)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return TransportError(ConnectError(f"the proxy refused the connection: {error.status}"), request_sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connector(error)
    if isinstance(error, aiohttp.ServerTimeoutError) or (isinstance(error, TimeoutError) and error.errno is None):
        return TransportError(APITimeoutError("the answer stopped coming", phase="read"), request_sent=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return _payload(error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.EofStream):
        return lost("the server closed the connection before it answered")
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        # The parser's verdict on what the server sent; its status of 400 is aiohttp's, not the server's.
        return TransportError(ProtocolError("the server's answer is not valid HTTP"), request_sent=True, max_retries=0)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return lost(f"the connection was lost ({_reason(error)})")
    if isinstance(error, RuntimeError) and str(error) in _CLOSED:
        return TransportError(ClientClosedError("the HTTP session is closed"), request_sent=False, max_retries=0)
    return TransportError(
        ProtocolError(f"the request failed: {type(error).__name__}"), request_sent=True, max_retries=0
    )


def lost(message: str) -> TransportError:
    """Return the failure of a connection that ended after the request may have been executed."""
    return TransportError(ConnectionLostError(message), request_sent=True)


def _connector(error: aiohttp.ClientConnectorError) -> TransportError:
    inner = error.os_error
    if isinstance(inner, ssl.SSLError):
        return TransportError(TLSError(_tls(error)), request_sent=False, max_retries=0)
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(inner, socket.gaierror):
        if not isinstance(inner, socket.gaierror):
            message = f"the name {_host(error)} cannot be looked up: {printable(str(inner), 120)}"
            return TransportError(ConnectError(message), request_sent=False, max_retries=0)
        final = inner.errno != socket.EAI_AGAIN
        message = f"the name {_host(error)} does not resolve"
        return TransportError(
            ConnectError(message, retryable=not final), request_sent=False, max_retries=0 if final else None
        )
    where = "the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else _host(error)
    message = f"no connection to {where}: {_reason(inner)}"
    return TransportError(
        ConnectError(message), request_sent=False, out_of_resources=getattr(inner, "errno", None) in EXHAUSTED
    )


def _payload(error: aiohttp.ClientPayloadError) -> TransportError:
    cause = error.__cause__
    if isinstance(cause, ContentEncodingError) or "ContentEncodingError" in str(error):
        # Compressed badly: perhaps in transit, so once more.
        return TransportError(ProtocolError("the answer's compression is broken"), request_sent=True, max_retries=1)
    return lost("the connection ended inside the answer")


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return printable(str(getattr(error, "strerror", None) or number), 80)
    return type(error).__name__


def _host(error: BaseException) -> str:
    # One made by a test may have no connection key.
    return printable(str(getattr(error, "host", None) or "the server"), 80)


def _tls(error: BaseException) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    reason = getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or type(inner).__name__
    hint = "; if it uses a private CA, pass ca_bundle=" if isinstance(inner, ssl.SSLCertVerificationError) else ""
    return f"TLS with {_host(error)} failed: {printable(str(reason), 120)}{hint}"
