"""How a client reaches the API: proxy, TLS, and what it sends its requests with."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import SplitResult

from .checks import check_function
from .errors import ConfigurationError
from .transport.base import PRIVATE_CA, Transport
from .transport.proxies import Proxy, proxy_from_environment, read_proxy

if TYPE_CHECKING:
    from .transport.lean import LeanTransport


class Network(NamedTuple):
    """How a client reaches the API."""

    proxy: Proxy | None
    make_ssl: Callable[[], ssl.SSLContext] | None
    """Makes the TLS settings at the first use; None where there is no TLS of the client's own."""
    own_connections: bool
    """Whether the client makes its connections itself, and not a session or transport of the caller's."""
    make_transport: Callable[[], Transport]
    """Makes what requests are sent with, at the first use."""


def choose_network(
    url: SplitResult,
    *,
    proxy: str | None,
    ca_bundle: Any,
    client_cert: Any,
    ssl_context: Any,
    session: Any,
    session_factory: Any,
    transport: Any,
) -> Network:
    """Check what a client is given for its network, and complete it from the environment.

    Raises:
        ConfigurationError: Something cannot work, or does not go together.
    """
    own_connections = session is None and session_factory is None and not isinstance(transport, Transport)
    chosen_proxy = choose_proxy(proxy, url, own_session=session is not None or session_factory is not None)
    make_ssl = _ssl_maker(ca_bundle, client_cert, ssl_context, used=own_connections and url.scheme == "https")
    private_ca = _advice(own_connections, ssl_context)
    if not (isinstance(transport, Transport) or transport in {"auto", "aiohttp", "lean", None}):
        raise ConfigurationError("transport must be 'auto', 'aiohttp', 'lean' or a Transport")
    own_session = _check_session(session, session_factory)
    if own_session is not None and (transport == "lean" or isinstance(transport, Transport)):
        named = "the lean transport" if transport == "lean" else "a transport of your own"
        raise ConfigurationError(f"{named} does not use a session: leave {own_session}= out")
    origin = f"{url.scheme}://{url.netloc}"

    def through_session() -> Transport:
        from .transport.aiohttp import AiohttpTransport  # noqa: PLC0415 (aiohttp is imported at the first use)

        return AiohttpTransport(
            origin,
            ssl_context=make_ssl,
            proxy=chosen_proxy,
            private_ca=private_ca,
            session=session,
            session_factory=session_factory,
        )

    def lean() -> LeanTransport:
        from .transport.lean import LeanTransport  # noqa: PLC0415 (as above)

        return LeanTransport(origin, ssl_context=make_ssl, proxy=chosen_proxy, private_ca=private_ca)

    def make() -> Transport:
        if isinstance(transport, Transport):
            return transport
        if transport == "lean":
            return lean()
        if transport == "aiohttp" or own_session is not None:
            return through_session()
        from .transport.lean import choose  # noqa: PLC0415 (as above)

        return choose(lean, through_session)

    return Network(chosen_proxy, make_ssl, own_connections, make)


def choose_proxy(proxy: str | None, url: SplitResult, *, own_session: bool = False) -> Proxy | None:
    """Return the proxy for a base URL: an explicit one always, else that of the environment, for https only.

    Args:
        proxy: The explicit one.
        url: The base URL.
        own_session: Whether the caller's session makes the connections, which may speak SOCKS.

    Raises:
        ConfigurationError: The proxy is no http or https URL.
    """
    if proxy is None:
        return proxy_from_environment(url.scheme, url.hostname or "", url.port, socks=own_session)
    if not isinstance(proxy, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"proxy must be a string, not {type(proxy).__name__}")
    return read_proxy(proxy, "proxy")


def _check_session(session: object, session_factory: object) -> str | None:
    """Return which of the two keywords was given."""
    if session is not None and session_factory is not None:
        raise ConfigurationError("give session= or session_factory=, not both")
    if session_factory is not None:
        wanted = "a function without arguments that makes an aiohttp.ClientSession"
        check_function("session_factory", session_factory, wanted, 0)
        return "session_factory"
    if session is None:
        return None
    from .transport.aiohttp import is_session  # noqa: PLC0415 (who has a session has imported aiohttp)

    if not is_session(session):
        raise ConfigurationError(f"session must be an aiohttp.ClientSession, not {type(session).__name__}")
    return "session"


def _advice(own_connections: bool, ssl_context: object) -> str:
    """Return what to do about a certificate that is not trusted; a way that is there for such a client."""
    if ssl_context is not None:
        return "if it uses a private CA, load it into the ssl_context"
    if not own_connections:
        return "if it uses a private CA, load it into the SSL context of the session's connector"
    return PRIVATE_CA


def _ssl_maker(
    ca_bundle: Any, client_cert: Any, ssl_context: Any, *, used: bool
) -> Callable[[], ssl.SSLContext] | None:
    bundle, pair = check_file(ca_bundle, "ca_bundle"), client_certificate(client_cert)
    if ssl_context is not None:
        if bundle is not None or pair is not None:
            raise ConfigurationError("ssl_context excludes ca_bundle and client_cert: load them into the context")
        if not isinstance(ssl_context, ssl.SSLContext):
            raise ConfigurationError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        return lambda: ssl_context
    if bundle is None and pair is None and not used:
        return None
    trusted = trusted_by_environment() if used else []

    def make() -> ssl.SSLContext:
        from .transport.aiohttp import make_ssl_context  # noqa: PLC0415 (aiohttp is imported at the first use)

        try:
            return make_ssl_context(bundle, pair, trusted)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
        named = "what SSL_CERT_FILE, SSL_CERT_DIR or REQUESTS_CA_BUNDLE names, " if trusted else ""
        raise ConfigurationError(f"{named}ca_bundle or client_cert cannot be loaded: {reason}")

    return make


def check_file(value: Any, what: str) -> str | None:
    """Return the path of a file that has to exist, None for None."""
    if value is None:
        return None
    if not isinstance(value, str | PathLike):
        raise ConfigurationError(f"{what} must be a path, not {type(value).__name__}")
    path = Path(cast("str | PathLike[str]", value))
    if not path.is_file():
        raise ConfigurationError(f"{what}: there is no file {str(path)!r:.200}")
    return str(path)


def trusted_by_environment() -> list[str]:
    """Return the files and folders of CAs that the environment wants trusted instead of the system's.

    SSL_CERT_FILE and SSL_CERT_DIR are OpenSSL's own (the latter may list several), REQUESTS_CA_BUNDLE is that of
    `requests`, a file or a folder.

    Raises:
        ConfigurationError: A variable names nothing that is there.
    """
    found: list[str] = []
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        value = os.environ.get(variable, "")
        places = value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]
        there = [place for place in places if place and Path(place).exists()]
        if value and not there:
            raise ConfigurationError(f"{variable}: there is no {value!r:.200}")
        found += there
    return found


def client_certificate(value: Any) -> tuple[str, str | None] | None:
    """Return certificate and key file of `client_cert`: one path, or two."""
    if value is None:
        return None
    pair = cast("tuple[Any, ...]", value if isinstance(value, tuple) else (value, None))
    if len(pair) != 2:
        raise ConfigurationError("client_cert must be a path, or a pair of paths: certificate and key")
    certificate = check_file(pair[0], "client_cert")
    if certificate is None:
        raise ConfigurationError("client_cert must name a certificate")
    return certificate, check_file(pair[1], "client_cert")
