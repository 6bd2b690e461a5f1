"""Faults on the wire: answers that are cut, badly framed, too slow or too long."""

from __future__ import annotations

from itertools import repeat

from .connection import Connection, End
from .messages import Request, answer, chunk, chunked, dumps, item, record
from .scripts import GIB, Fault, Place, Script, Source, cut_at, flood, send, trickle

_LOST, _PROTOCOL, _TIMEOUT = "ConnectionLostError", "ProtocolError", "APITimeoutError"
_LARGE, _DECODE = "ResponseTooLargeError", "DecodeError"
_CHUNKED = answer(b"", 200, "transfer-encoding: chunked", length="")
_KIB64 = b"x" * 65_536
_PLACES: dict[Place, str] = {
    "nothing": "before any byte",
    "status-line": "inside the status line",
    "headers": "inside the headers",
    "head": "between head and body",
    "body": "inside a Content-Length body",
}
_ENDS: tuple[End, End] = ("rst", "fin")


def _b(name: str, description: str, expect: str, retried: bool | int | None, script: Script, *also: str) -> Fault:
    return Fault(name, "B", description, expect, retried, script, also=also)


def _in_chunks(request: Request) -> bytes:
    """Return the good answer with a chunk for every byte of its body."""
    return chunked(*(bytes([byte]) for byte in record(request)))


def _one_chunk(request: Request) -> bytes:
    return chunked(record(request))


def _no_last_chunk(request: Request) -> bytes:
    return chunked(record(request), end=b"")


def _extended(request: Request) -> bytes:
    """Return the good answer with chunk extensions and a trailer."""
    body = record(request)
    return _CHUNKED + b'%x;name="value"\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n' % (len(body), body)


def _no_length(request: Request) -> bytes:
    return answer(record(request), length="")


def _ten_short(request: Request) -> bytes:
    """Return the good answer with a Content-Length that is ten bytes too large."""
    body = record(request)
    return answer(body, length=len(body) + 10)


def _padded(request: Request) -> bytes:
    """Return the good body without its last brace, and a string in which it can go on for ever."""
    return record(request).removesuffix(b"}") + b',"padding":"'


def _then(size: bytes) -> Source:
    """Return an answer in chunks of which the second has this as its size."""
    return lambda request: _CHUNKED + chunk(record(request)[:8]) + size + b"\r\n" + record(request)[8:] + b"\r\n"


def _chunked_start(request: Request) -> bytes:
    return _CHUNKED + chunk(_padded(request))


def _no_length_start(request: Request) -> bytes:
    return answer(_padded(request), length="")


def _declaring(length: int) -> Source:
    """Return an answer that announces `length` more bytes of its string than it has."""
    return lambda request: answer(_padded(request), length=len(_padded(request)) + length + len(b'"}'))


async def _huge_page(connection: Connection, _: Request) -> None:
    """Answer with an honest page of 45 MB."""
    filler = dumps(item("filler", unified_custom_fields={"text": "x" * 65_000})) + b","
    last = dumps(item("last"))
    start, end = b'{"next":null,"data":[', b"]}"
    times = 45_000_000 // len(filler)
    length = len(start) + times * len(filler) + len(last) + len(end)
    await connection.send(answer(start, length=length))
    await connection.flood(filler, times * len(filler))
    await connection.send(last + end)


async def _heartbeats(connection: Connection, request: Request) -> None:
    body = record(request)
    await connection.send(answer(b"", 200, "preference-applied: heartbeat", length=4 + len(body)))
    await connection.trickle([b"\n"] * 4)
    await connection.send(body)


async def _continue_for_ever(connection: Connection, _: Request) -> None:
    await connection.trickle(repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))
    await connection.end("fin")


_CUTS = tuple(
    _b(f"{end}-{place}", f"{end.upper()} {text}", _LOST, True, cut_at(place, end))
    for place, text in _PLACES.items()
    for end in _ENDS
)

_FRAMING = (
    _b(
        "short-body-fin",
        "whole JSON, ten bytes below Content-Length, FIN",
        _LOST,
        True,
        send(_ten_short, "fin"),
    ),
    _b(
        "short-body-rst",
        "whole JSON, ten bytes below Content-Length, RST",
        _LOST,
        True,
        send(_ten_short, "rst"),
    ),
    _b("eof-body", "no length: the body ends with the connection", "ok", False, send(_no_length, "fin")),
    _b("eof-body-cut", "no length, and the body is cut", _DECODE, 1, cut_at("body", "fin", _no_length)),
    _b("chunked", "a chunk for every byte", "ok", False, send(_in_chunks)),
    _b("chunk-extensions", "chunk extensions and a trailer", "ok", False, send(_extended)),
    _b("chunked-no-last-chunk", "FIN instead of the last chunk", _LOST, True, send(_no_last_chunk, "fin")),
    _b("chunked-rst", "RST inside a chunk", _LOST, True, cut_at("body", "rst", _one_chunk)),
    _b("chunked-fin", "FIN inside a chunk", _LOST, True, cut_at("body", "fin", _one_chunk)),
    *(
        _b(
            f"chunk-size-{name}",
            f"a chunk of size {size!r}",
            _PROTOCOL,
            None,
            send(_then(size), "fin"),
            _LOST,
        )
        for name, size in {
            "garbage": b"zz",
            "empty": b"",
            "negative": b"-5",
            "prefixed": b"0x10",
            "huge": b"f" * 17,
        }.items()
    ),
    _b(
        "chunk-overrun",
        "a chunk longer than its size",
        _PROTOCOL,
        None,
        send(lambda request: _CHUNKED + b"5\r\n" + record(request) + b"\r\n0\r\n\r\n", "fin"),
        _LOST,
    ),
)

_SLOW = (
    _b("never-answers", "reads the request and says nothing", _TIMEOUT, True, send(b"", "stall")),
    _b("stall-status-line", "stops inside the status line", _TIMEOUT, True, cut_at("status-line", "stall")),
    _b("stall-headers", "stops inside the headers", _TIMEOUT, True, cut_at("headers", "stall")),
    _b("stall-head", "stops between head and body", _TIMEOUT, True, cut_at("head", "stall")),
    _b("stall-body", "stops inside the body", _TIMEOUT, True, cut_at("body", "stall")),
    _b("stall-chunk", "stops inside a chunk", _TIMEOUT, True, cut_at("body", "stall", _one_chunk)),
    _b("stall-last-chunk", "stops before the last chunk", _TIMEOUT, True, send(_no_last_chunk, "stall")),
    _b("trickle-head", "a byte a tick from the start", _TIMEOUT, True, trickle("nothing")),
    _b("trickle-body", "the body, a byte a tick", _TIMEOUT, True, trickle("head")),
    _b("trickle-chunks", "a chunked body, a byte a tick", _TIMEOUT, True, trickle("head", _in_chunks)),
    _b("continue-for-ever", "100 Continue, every tick, no answer", _TIMEOUT, True, _continue_for_ever),
)

_LONG = (
    _b(
        "chunked-endless",
        "chunks, as fast as they are taken",
        _LARGE,
        False,
        flood(_chunked_start, chunk(_KIB64)),
    ),
    _b("eof-body-endless", "no length and no end", _LARGE, False, flood(_no_length_start, _KIB64)),
    _b(
        "body-1gib",
        "an honest Content-Length of 1 GiB",
        _LARGE,
        False,
        flood(_declaring(GIB), _KIB64, GIB, b'"}'),
    ),
    _b(
        "content-length-1e15",
        "a length of 10**15, then silence",
        _LARGE,
        False,
        send(_declaring(10**15), "stall"),
    ),
    _b("heartbeats", "newlines before the body, one a tick", "ok", False, _heartbeats),
    Fault("page-45mb", "B", "an honest page of 45 MB", _LARGE, False, _huge_page, call="list"),
)

FAULTS = (*_CUTS, *_FRAMING, *_SLOW, *_LONG)
