"""Faults as data, and the few moves that nearly all of them are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .connection import Connection, End
from .messages import Request, answer, dumps, good, problem, record

Script = Callable[[Connection, Request], Awaitable[None]]
Source = bytes | Callable[[Request], bytes]
Place = Literal["nothing", "status-line", "headers", "head", "body"]
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for a server to misbehave, and what a client should make of it."""

    name: str
    """Goes into the base URL: `/f/{name}`, or `/f/{name}@2` for twice the fault and then good answers."""
    section: Literal["-", "A", "B", "C", "D", "E", "G", "W"]
    """A connecting, B the wire, C bodies, D redirects, E statuses, G pagination, W writes, `-` no fault."""
    description: str
    expect: str
    """Name of the error class (its subclasses count), or "ok", when the fault does not go away."""
    retried: bool | int | None
    """True: until the attempts are used up. False: one request. A number: that many retries. None: open."""
    script: Script
    call: Literal["get", "sequence", "list", "list_some", "write"] = "get"
    """What shows the fault: a get; several gets over one pooled connection; a list; a list that only
    `max_items` ends; a POST."""
    also: tuple[str, ...] = ()
    """Other outcomes that are as good as `expect`."""
    server: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the FaultServer, for what happens before a request."""


def make(source: Source, request: Request) -> bytes:
    return source if isinstance(source, bytes) else source(request)


async def ok(connection: Connection, request: Request) -> None:
    """Answer as a healthy server."""
    if request.method != "GET":
        connection.commit()
    await connection.send(good(request))


def send(source: Source, end: End = "keep") -> Script:
    """Write these bytes, and nothing else."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.send(make(source, request))
        await connection.end(end)

    return script


def respond(
    body: Source = record,
    status: int = 200,
    *lines: str,
    content_type: str | None = "application/json",
    length: int | str | None = None,
    end: End = "keep",
) -> Script:
    """Answer with this body, by default the good one, and these further header lines."""

    def whole(request: Request) -> bytes:
        return answer(make(body, request), status, *lines, content_type=content_type, length=length)

    return send(whole, end)


def fail(status: int, *lines: str, message: Any = None, **more: Any) -> Script:
    """Answer with an error status and the API's error body."""
    return respond(problem(status, message, **more), status, *lines)


def data(**fields: Any) -> Script:
    """Answer with these fields in the record."""
    return respond(lambda request: record(request, **fields))


def replaced(old: bytes, new: bytes) -> Script:
    """Answer with the good body, `old` replaced by `new` in it."""

    def body(request: Request) -> bytes:
        before = record(request)
        assert old in before, old
        return before.replace(old, new, 1)

    return respond(body)


def added(name: str, literal: bytes) -> Script:
    """Answer with one more member of the whole, written as this literal."""
    return replaced(b"}", b"},%b:%b" % (dumps(name), literal))


def position(whole: bytes, place: Place) -> int:
    head = whole.index(b"\r\n\r\n") + 4
    return {
        "nothing": 0,
        "status-line": len(b"HTTP/1.1 "),
        "headers": head // 2,
        "head": head,
        "body": (head + len(whole)) // 2,
    }[place]


def cut_at(place: Place, end: End, source: Source = good) -> Script:
    """Write the good answer up to there."""

    def part(request: Request) -> bytes:
        whole = make(source, request)
        return whole[: position(whole, place)]

    return send(part, end)


def trickle(place: Place, source: Source = good) -> Script:
    """Write the good answer up to there at once, then a byte a tick."""

    async def script(connection: Connection, request: Request) -> None:
        whole = make(source, request)
        start = position(whole, place)
        await connection.send(whole[:start])
        await connection.trickle(bytes([byte]) for byte in whole[start:])
        await connection.end("fin")

    return script


def flood(head: Source, piece: bytes, limit: int = GIB, tail: bytes = b"") -> Script:
    """Write `head`, then `piece` again and again up to `limit` bytes, then `tail`."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.send(make(head, request))
        await connection.flood(piece, limit)
        await connection.send(tail)
        await connection.end("fin")

    return script


def commits_then(script: Script) -> Script:
    """Let the effect of a write happen before the script."""

    async def both(connection: Connection, request: Request) -> None:
        connection.commit()
        await script(connection, request)

    return both
