"""Which proxy leads to a server: the one that was given, or the one that the environment names."""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import getproxies_environment

import msgspec

from ..errors import ConfigurationError
from .base import Secret

_SOCKS = re.compile("socks[45]?[ah]?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxy(msgspec.Struct, frozen=True, eq=False):
    """A proxy that makes connections for us.

    Attributes:
        url: Scheme, host and port, without the password, so that it can be shown.
        authorization: The header that tells who we are, or None.
    """

    url: str
    authorization: Secret | None = None

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("url", self.url)]

    def __repr__(self) -> str:
        return f"<Proxy {self.url}>"


def read_proxy(text: str, source: str) -> Proxy:
    """Return the proxy that a URL names; without a scheme it is http.

    Args:
        text: Such as `http://user:password@proxy.example:3128`; what is percent-encoded in user and password is
            decoded, and sent as UTF-8.
        source: Where that stands, such as `HTTPS_PROXY`, for messages. They never show the URL.

    Raises:
        ConfigurationError: It is no URL, or of a kind of proxy that cannot be used.
    """
    text = Secret(text.strip())
    if _is_socks(text):
        raise ConfigurationError(
            f"{source}: SOCKS proxies are not supported. Name an http:// proxy in HTTPS_PROXY or proxy=, leave this "
            "server out with NO_PROXY, or give session= an aiohttp connector that speaks SOCKS, such as aiohttp-socks"
        )
    found = _parse(text)
    if isinstance(found, str):
        raise ConfigurationError(f"{source}: {found}")
    return found


def _is_socks(text: str) -> bool:
    return _SOCKS.fullmatch(text.partition("://")[0]) is not None


_NO_URL = (
    "the proxy must be an http:// or https:// URL, such as http://user:password@proxy.example:3128; in user and "
    "password, characters such as / # ? @ have to be percent-encoded"
)


def _parse(text: str) -> Proxy | str:
    """Return the proxy of a URL, or what is wrong with it; raises nothing, since its local variables are secrets."""
    url = str(text) if "://" in text else "http://" + str(text)
    if any(c <= " " or c in "\\\x7f" for c in url):
        return _NO_URL
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return _NO_URL
    if parts.scheme not in _DEFAULT_PORTS or not host or port == 0:
        return _NO_URL
    shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"
    if not parts.username and not parts.password:
        return Proxy(shown)
    # Bytes of the environment that are no UTF-8 come as surrogates, and leave as they came.
    user, password = (
        unquote_to_bytes((part or "").encode("utf-8", "surrogateescape")) for part in (parts.username, parts.password)
    )
    if b":" in user:
        return "the user of the proxy holds a colon, which Basic auth cannot carry"
    return Proxy(shown, Secret("Basic " + base64.b64encode(user + b":" + password).decode("ascii")))


def proxy_from_environment(scheme: str, host: str, port: int | None, *, socks: bool = False) -> Proxy | None:
    """Return the proxy that HTTPS_PROXY or else ALL_PROXY names for a server, unless NO_PROXY lists that.

    The names count in lower case, too. Only for https: through an http proxy a plain http request would show the key.

    Args:
        scheme: Of the server's URL.
        host: Its name or address.
        port: Its port; None for the scheme's own.
        socks: Whether a SOCKS proxy is somebody else's business, who makes the connections.

    Raises:
        ConfigurationError: What the variable says is no proxy that can be used.
    """
    if scheme != "https":
        return None
    environment = _environment()
    if excluded(environment["no"], host, port or _DEFAULT_PORTS[scheme]):
        return None
    for name, variable in (("https", "HTTPS_PROXY"), ("all", "ALL_PROXY")):
        text = environment[name]
        if text:
            return None if socks and _is_socks(text) else read_proxy(text, variable)
    return None


def environment_decides(host: str, port: int | None) -> bool:
    """Tell whether the environment says through which proxy, or that through none, https to a server goes."""
    environment = _environment()
    return bool(environment["https"] or environment["all"]) or excluded(environment["no"], host, port or 443)


def _environment() -> dict[str, Secret]:
    found = getproxies_environment()
    return {name: Secret(found.get(name, "").strip()) for name in ("https", "all", "no")}


def excluded(no_proxy: str, host: str, port: int) -> bool:
    """Tell whether NO_PROXY lists a server.

    Args:
        no_proxy: Entries between commas or white space: `*` for every server; a name, with or without a dot before it,
            for itself and what ends so; an address; a network such as `10.0.0.0/8`; all but the last also with a port
            (`name:8443`, `[::1]:8443`).
        host: Name or address of the server.
        port: Its port.
    """
    name = host.rstrip(".").lower()
    address = _address(name)
    entries = re.split(r"[,\s]+", str(no_proxy).lower())
    return any(_matches(entry, name, address, port) for entry in entries if entry)


def _matches(entry: str, name: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    if _address(entry) is None:  # a plain IPv6 address has colons of its own
        before, colon, after = entry.rpartition(":")
        if colon:
            if after != str(port):
                return False
            entry = before
    if address is not None:
        return _address(entry) == address
    entry = entry.removeprefix("*").strip(".")
    return bool(entry) and (name == entry or name.endswith(f".{entry}"))


def _address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
