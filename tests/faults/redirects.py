"""Redirects, of which none may be followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .connection import Connection
from .messages import Request, answer
from .scripts import Fault, Script, ok

HOPS = 30
QUERY = "?token=in-the-query"
"""Ends every Location that has a query; an error that shows a Location must not show it."""


def _evil(connection: Connection, request: Request) -> str:
    return f"{connection.settings.evil_url}/f/ok{request.path}{QUERY}"


def _host(connection: Connection) -> str:
    return urlsplit(connection.settings.evil_url).netloc


def _same_origin(_: Connection, request: Request) -> str:
    return f"/f/ok{request.path}{QUERY}"


def _other_name(connection: Connection, request: Request) -> str:
    return _evil(connection, request).replace("127.0.0.1", "localhost")


def _scheme_relative(connection: Connection, request: Request) -> str:
    return f"//{_host(connection)}/f/ok{request.path}{QUERY}"


def _user_info(connection: Connection, request: Request) -> str:
    return f"http://user:in-the-user-info@{_host(connection)}/f/ok{request.path}{QUERY}"


def _plain(connection: Connection, request: Request) -> str:
    return f"http://{_host(connection)}/f/ok{request.path}{QUERY}"


def _itself(_: Connection, request: Request) -> str:
    return request.target


def _fixed(text: str) -> Callable[[Connection, Request], str]:
    return lambda _connection, _request: text


def _to(location: Callable[[Connection, Request], str] | None, status: int = 302) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        lines = [] if location is None else [f"location: {location(connection, request)}"]
        await connection.send(answer(b"moved", status, *lines, content_type="text/plain"))

    return script


async def _hops(connection: Connection, request: Request) -> None:
    """Answer well after 30 redirects."""
    path, _, query = request.target.partition("?hop=")
    hop = int(query or 0)
    if hop == HOPS:
        await ok(connection, request)
    else:
        await _to(_fixed(f"{path}?hop={hop + 1}"))(connection, request)


def _d(name: str, description: str, script: Script, *also: str, **server: Any) -> Fault:
    return Fault(f"redirect-{name}", "D", description, "RedirectError", False, script, also=also, server=server)


FAULTS = (
    *(
        _d(f"{status}", f"{status} to another origin", _to(_evil, status))
        for status in (300, 301, 302, 303, 305, 307, 308)
    ),
    _d("same-origin", "to the same origin", _to(_same_origin)),
    _d("other-name", "to another name of the host", _to(_other_name)),
    _d("scheme-relative", "to another host, without a scheme", _to(_scheme_relative)),
    _d("user-info", "to a URL with user and password", _to(_user_info)),
    _d("file", "to a file", _to(_fixed("file:///etc/passwd"))),
    _d("downgrade", "from https to http", _to(_plain), tls="good"),
    _d("loop", "to itself", _to(_itself)),
    _d("hops", "30 times to itself, then good", _hops),
    _d("no-location", "without a Location", _to(None)),
    _d("empty", "with an empty Location", _to(_fixed(""))),
    _d("bad", "with a Location that is no URL", _to(_fixed("http://[::1:99999\\@:x/%zz"))),
    _d("control", "with an escape character in the Location", _to(_fixed("http://a/\x1b[31m")), "ProtocolError"),
)
