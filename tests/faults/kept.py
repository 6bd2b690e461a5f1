"""Faults of connections that are used again: stale ones, late answers, bytes too many."""

from __future__ import annotations

from .connection import Connection, End
from .messages import Request, answer, dumps, good, item, problem, record
from .scripts import Fault, Script, ok, respond, send

SMUGGLED = "smuggled"
"""The id in the answers that nobody asked for."""

_SECOND = answer(dumps({"data": item(SMUGGLED), "raw": None}))
_LATE_400 = answer(problem(400), 400, "connection: close")
_LATE_408 = answer(b"<html>Request Timeout</html>", 408, "connection: close", content_type="text/html")


def _later(data: bytes, end: End) -> Script:
    """Answer well; a tick later, while no answer is due, write `data` and end."""

    async def script(connection: Connection, request: Request) -> None:
        await ok(connection, request)
        connection.done()
        await connection.wait(connection.settings.tick)
        await connection.send(data)
        await connection.end(end)

    return script


def _dead_when_reused(*ends: End) -> Script:
    """Answer the first request of a connection, and end the connection at the second."""

    async def script(connection: Connection, request: Request) -> None:
        if connection.requests == 1:
            await ok(connection, request)
        else:
            connection.settings.memory["reused"] += 1
            await connection.end(ends[int(connection.settings.memory["reused"]) % len(ends)])

    return script


def _kept(name: str, description: str, script: Script, *also: str) -> Fault:
    return Fault(name, "B", description, "ok", None, script, call="sequence", also=also)


def _two(request: Request) -> bytes:
    return good(request) + _SECOND


def _extra(request: Request) -> bytes:
    return good(request) + b"extra"


def _ten_long(request: Request) -> bytes:
    body = record(request)
    return answer(body, length=len(body) - 10)


FAULTS = (
    _kept("stale-close", "closed a tick after the answer", _later(b"", "fin")),
    _kept("stale-reset", "reset a tick after the answer", _later(b"", "rst")),
    _kept("stale-race-fin", "FIN when a connection is used again", _dead_when_reused("fin")),
    _kept("stale-race-rst", "RST when a connection is used again", _dead_when_reused("rst")),
    _kept("stale-many", "each pooled connection is dead, by FIN or RST", _dead_when_reused("fin", "rst")),
    _kept("late-answer", "another answer a tick later, on the idle connection", _later(_SECOND, "keep")),
    _kept("late-answer-close", "another answer a tick later, then FIN", _later(_SECOND, "fin")),
    _kept("late-400", "a 400 a tick later, then FIN", _later(_LATE_400, "fin")),
    _kept("late-408", "a 408 in HTML a tick later, then FIN", _later(_LATE_408, "fin")),
    _kept("two-answers", "two answers at once", send(_two), "ProtocolError"),
    _kept("extra-bytes", "bytes behind the body", send(_extra), "ProtocolError"),
    Fault(
        "short-length",
        "B",
        "a body ten bytes above Content-Length",
        "ProtocolError",
        None,
        send(_ten_long),
        also=("DecodeError",),
    ),
    _kept("close-said", "`Connection: close`, and FIN", respond(record, 200, "connection: close", end="fin")),
    _kept("close-unsaid", "FIN at once, without a word", respond(end="fin")),
    _kept("close-not", "`Connection: close`, and no FIN", respond(record, 200, "connection: close")),
    _kept("set-cookie", "sets a cookie", respond(record, 200, "set-cookie: session=1; Path=/")),
)
