"""A look at the way to a server, step by step, without sending it anything: its name, a proxy, TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ..errors import ConnectError, TLSError, printable
from ..threads import run_in_kept_thread
from .base import Secret, SecretBytes
from .connections import Resolver
from .proxies import Proxy

_SECONDS = 10.0
_LONGEST_HEAD = 16 * 1024
_COMMON_NAME, _ORGANIZATION = bytes.fromhex("550403"), bytes.fromhex("55040a")
_VERSION = 0xA0


class Certificate(NamedTuple):
    """What was found out about TLS with a server."""

    version: str
    """Of TLS, such as `TLSv1.3`."""
    issuer: str
    """Who signed the server's certificate."""


async def look_up(url: str, proxy: Proxy | None) -> tuple[str, list[str]]:
    """Look up the name that a connection goes to: that of the proxy if there is one.

    Returns:
        The name and its addresses.

    Raises:
        ConnectError: It has none, or cannot be looked up.
    """
    host, port = _host_and_port(urlsplit(url if proxy is None else proxy.url))
    with suppress(ValueError):  # no thread for what is an address: where eventlet has patched threads, none would run
        return host, [str(ip_address(host))]
    try:
        async with asyncio.timeout(_SECONDS):
            found = await Resolver().resolve(host, port, 0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConnectError(f"the name {host} does not resolve: {printable(str(reason), 120)}") from None
    return host, list(dict.fromkeys(one["host"] for one in found))


async def look_at_tls(url: str, proxy: Proxy | None, make_context: Callable[[], ssl.SSLContext] | None) -> Certificate:
    """Make a TLS connection to a server, and close it.

    Args:
        url: The server's.
        proxy: The proxy to go through.
        make_context: Makes the TLS settings; None: the default ones.

    Raises:
        ConnectError: There is no connection.
        TLSError: The handshake failed; the message names who signed the certificate, where that can be seen.
    """
    context = await run_in_kept_thread(make_context or ssl.create_default_context)
    try:
        return await _handshake(url, proxy, context)
    except ssl.SSLCertVerificationError as error:
        reason = printable(error.verify_message, 120)
    except ssl.SSLError as error:
        raise TLSError(f"the TLS handshake failed: {printable(str(error.reason or error), 120)}") from None
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE  # only to see who signed it; nothing is sent
    try:
        signed = f"; it was signed by {(await _handshake(url, proxy, anybody)).issuer}"
    except (ssl.SSLError, ConnectError):
        signed = ""
    raise TLSError(f"the server's certificate is not trusted: {reason}{signed}")


async def _handshake(url: str, proxy: Proxy | None, context: ssl.SSLContext) -> Certificate:
    host, _ = _host_and_port(urlsplit(url))
    try:
        async with asyncio.timeout(_SECONDS), _connected(url, proxy) as writer:
            await writer.start_tls(context, server_hostname=host)
            found = writer.get_extra_info("ssl_object")
            return Certificate(found.version() or "TLS", issuer_of(found.getpeercert(binary_form=True) or b""))
    except ssl.SSLError:
        raise
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConnectError(f"no connection to {host}: {printable(str(reason), 120)}") from None


@asynccontextmanager
async def _connected(url: str, proxy: Proxy | None) -> AsyncGenerator[asyncio.StreamWriter]:
    """Connect to a server, or through a proxy to it; before TLS."""
    target = _host_and_port(urlsplit(url))
    if proxy is None:
        reader, writer = await asyncio.open_connection(*target)
    else:
        parts = urlsplit(proxy.url)
        secure = ssl.create_default_context() if parts.scheme == "https" else None
        reader, writer = await asyncio.open_connection(*_host_and_port(parts), ssl=secure, limit=_LONGEST_HEAD)
    try:
        if proxy is not None:
            await _through(reader, writer, target, proxy)
        yield writer
    finally:
        writer.close()


async def _through(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int], proxy: Proxy
) -> None:
    host, port = target
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.authorization is not None:
        lines.append(Secret("Proxy-Authorization: " + str.__str__(proxy.authorization)))
    writer.write(SecretBytes("\r\n".join([*lines, "", ""]).encode()))
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        told = head.partition(b"\r\n")[0].decode("latin-1")
        raise ConnectError(f"the proxy refused the connection: {printable(told, 120)}")


def _host_and_port(url: SplitResult) -> tuple[str, int]:
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


def issuer_of(certificate: bytes) -> str:
    """Return who signed a certificate (DER, RFC 5280): organization and common name.

    Python itself tells that of trusted certificates only.
    """
    try:
        _, whole, _ = _element(certificate)
        _, fields, _ = _element(whole)
        tag, _, rest = _element(fields)
        if tag == _VERSION:
            _, _, rest = _element(rest)
        _, _, rest = _element(rest)  # the algorithm of the signature
        _, issuer, _ = _element(rest)
        names: dict[bytes, str] = {}
        while issuer:
            _, parts, issuer = _element(issuer)
            _, pair, _ = _element(parts)
            _, kind, value = _element(pair)
            names[kind] = _element(value)[1].decode("utf-8", "replace")
    except (IndexError, ValueError):
        return "somebody whose name cannot be read"
    found = [names[kind] for kind in (_ORGANIZATION, _COMMON_NAME) if kind in names]
    return printable(", ".join(dict.fromkeys(found)) or "somebody without a name", 120)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag and the content of the first element of DER, and what follows it."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if len(data) < start + length:
        raise ValueError("it is cut off")
    return tag, data[start : start + length], data[start + length :]
