"""Every exception of aiohttp and the operating system, turned into ours; the one place where that happens.

Foreign exceptions end here: those of aiohttp hold the request with its headers, and do not pickle.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import NamedTuple

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
from .base import MAX_HEADERS, PRIVATE_CA, TransportError
from .proxies import Proxy

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
"""What the system says when it has no more sockets, ports or memory to give."""


_CLOSED = frozenset({"Session is closed", "Connector is closed.", "Event loop is closed"})
"""What aiohttp and asyncio say in a RuntimeError when it is too late."""


class ServerRoute(NamedTuple):
    """How a transport reaches the server, for messages."""

    proxy: Proxy | None = None
    """The proxy that makes the connections, or None."""
    private_ca: str = PRIVATE_CA
    """What to do about a certificate of a private CA."""
    session: bool = False
    """Whether a session of the caller's reads the answers, with limits of its own."""

    def via(self) -> str:
        """Return the end of a sentence about a connection."""
        return "" if self.proxy is None else f" through the proxy {self.proxy.url}"


def translate(error: Exception, route: ServerRoute = ServerRoute(), *, connected: bool = True) -> TransportError:  # noqa: B008 (frozen)
    """Return what `error` means for the call during which it was raised.

    Args:
        error: What aiohttp or the system raised.
        route: How the server was to be reached.
        connected: Whether the request had a connection; if not, nothing of it was sent.
    """
    # An expired or wrong certificate is also an OSError and a ValueError, so TLS comes first.
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return TransportError(TLSError(_tls(error, route)), request_sent=False, max_retries=0)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _no_connection_in_time()
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(error, route)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _connector(error, route)
    if isinstance(error, RuntimeError) and str(error) in _CLOSED:
        return TransportError(ClientClosedError("the HTTP session is closed"), request_sent=False, max_retries=0)
    if not connected or _is_about_connect(error):
        return _unconnected(error, route)
    if isinstance(error, aiohttp.ServerTimeoutError) or (isinstance(error, TimeoutError) and error.errno is None):
        return TransportError(APITimeoutError("the answer stopped coming", phase="read"), request_sent=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return _payload(error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.EofStream):
        return lost("the server closed the connection before it answered")
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        # The parser's verdict on what the server sent; its status of 400 is aiohttp's, not the server's.
        message = _beyond(error, route) or "the server's answer is not valid HTTP"
        return TransportError(ProtocolError(message), request_sent=True, max_retries=0)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return lost(f"the connection was lost ({_reason(error)})")
    return TransportError(
        ProtocolError(f"the request failed: {type(error).__name__}"), request_sent=True, max_retries=0
    )


def lost(message: str) -> TransportError:
    """Return the failure of a connection that ended after the request may have been executed."""
    return TransportError(ConnectionLostError(message), request_sent=True)


def _no_connection_in_time() -> TransportError:
    return TransportError(APITimeoutError("no connection was made in time", phase="connect"), request_sent=False)


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError, route: ServerRoute) -> TransportError:
    # Its own answer to CONNECT, so nothing has reached the server.
    status = error.status
    refusal = f"the proxy{'' if route.proxy is None else f' {route.proxy.url}'} refused the connection: {status}"
    if status == 407:
        return refused_password(refusal)
    passing = status in {408, 429} or status >= 500
    return TransportError(
        ConnectError(refusal, retryable=passing), request_sent=False, max_retries=None if passing else 0
    )


def refused_password(refusal: str) -> TransportError:
    """Return the failure of a proxy that does not accept user and password; not retried, as that locks accounts."""
    message = f"{refusal}. Check user and password in proxy= or HTTPS_PROXY; another try could lock the account"
    return TransportError(ConnectError(message, retryable=False), request_sent=False, max_retries=0)


def _is_about_connect(error: Exception) -> bool:
    # What a session of the caller's tells of a proxy's answer that is not HTTP.
    return isinstance(error, aiohttp.ClientResponseError) and getattr(error.request_info, "method", None) == "CONNECT"


def _unconnected(error: Exception, route: ServerRoute) -> TransportError:
    if isinstance(error, TimeoutError) and error.errno is None:
        return _no_connection_in_time()
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        if route.proxy is not None:
            said = _beyond(error, route) or "its answer is not valid HTTP"
            return TransportError(ConnectError(f"no connection{route.via()}: {said}"), request_sent=False)
    elif isinstance(error, aiohttp.ClientConnectionError | aiohttp.EofStream | OSError):
        if route.proxy is not None:
            ended = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.EofStream)
            why = "it hung up" if ended else _reason(error)
            return TransportError(ConnectError(f"no connection{route.via()}: {why}"), request_sent=False)
        message = "the server hung up, or spoke first, before a request was sent"
        return TransportError(ConnectionLostError(message), request_sent=False)
    return TransportError(
        ProtocolError(f"the request failed: {type(error).__name__}"), request_sent=False, max_retries=0
    )


def _connector(error: aiohttp.ClientConnectorError, route: ServerRoute) -> TransportError:
    inner = error.os_error
    if isinstance(inner, ssl.SSLError):
        return TransportError(TLSError(_tls(error, route)), request_sent=False, max_retries=0)
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(inner, socket.gaierror):
        name = f"the name {_host(error)}{'' if route.proxy is None else f' of the proxy {route.proxy.url}'}"
        if not isinstance(inner, socket.gaierror):
            message = f"{name} cannot be looked up: {printable(str(inner), 120)}"
            return TransportError(ConnectError(message), request_sent=False, max_retries=0)
        final = inner.errno != socket.EAI_AGAIN
        message = f"{name} does not resolve"
        return TransportError(
            ConnectError(message, retryable=not final), request_sent=False, max_retries=0 if final else None
        )
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        where = "the proxy" if route.proxy is None else f"the proxy {route.proxy.url}"
    else:
        where = f"{_host(error)}{route.via()}"
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


_TOO_LONG = re.compile(r"Got more than ([0-9]+) bytes when reading")
_TOO_MANY = "Too many headers"
"""How aiohttp's parsers say that an answer's head is beyond their limits."""


def _beyond(error: BaseException, route: ServerRoute) -> str | None:
    """Return which limit of the head an answer went beyond, if that is what the parser said."""
    said = str(getattr(error, "message", ""))
    too_long = _TOO_LONG.match(said)
    if too_long is not None:
        longest = f"{too_long[1]} bytes (max_field_size of the session)" if route.session else "32 KiB"
        return f"a header of the answer is longer than {longest}"
    if said.startswith(_TOO_MANY):
        most = "its session reads (max_headers)" if route.session else f"{MAX_HEADERS}"
        return f"the answer has more headers than {most}"
    return None


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return printable(str(getattr(error, "strerror", None) or number), 80)
    return type(error).__name__


def _host(error: BaseException) -> str:
    # One made by a test may have no connection key.
    return printable(str(getattr(error, "host", None) or "the server"), 80)


def _tls(error: BaseException, route: ServerRoute) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    reason = getattr(inner, "verify_message", None) or getattr(inner, "reason", None) or type(inner).__name__
    hint = f"; {route.private_ca}" if isinstance(inner, ssl.SSLCertVerificationError) else ""
    return f"TLS with {_host(error)}{route.via()} failed: {printable(str(reason), 120)}{hint}"
