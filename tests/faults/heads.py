"""Faults in status lines and headers, and answers before the answer."""

from __future__ import annotations

from .messages import Request, answer, good, record, status_line
from .scripts import Fault, Script, Source, flood, respond, send

_PROTOCOL, _LARGE, _UNEXPECTED = "ProtocolError", "ResponseTooLargeError", "UnexpectedResponseError"
_OK = status_line(200).encode()


def _bad(name: str, description: str, script: Script, *also: str) -> Fault:
    return Fault(name, "B", description, _PROTOCOL, False, script, also=also)


def _fine(name: str, description: str, script: Script, *also: str) -> Fault:
    return Fault(name, "B", description, "ok", False, script, also=also)


def _after(line: bytes) -> Script:
    """Answer well, but for the status line."""
    return send(lambda request: line + b"\r\n" + good(request).partition(b"\r\n")[2], "fin")


def _with(*lines: str) -> Script:
    """Answer well, but with these header lines instead of a Content-Length."""
    return respond(record, 200, *lines, length="", end="fin")


def _before(first: bytes) -> Source:
    return lambda request: first + good(request)


def _lengths(*lengths: str) -> Script:
    """Answer with one Content-Length for each of these, `{}` in them being the true one."""

    def whole(request: Request) -> bytes:
        body = record(request)
        lines = (f"content-length: {length.format(len(body))}" for length in lengths)
        return answer(body, 200, *lines, length="")

    return send(whole, "fin")


def _bare_newlines(request: Request) -> bytes:
    head, _, body = good(request).partition(b"\r\n\r\n")
    return head.replace(b"\r\n", b"\n") + b"\n\n" + body


def _length_and_chunks(request: Request) -> bytes:
    body = record(request)
    coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return answer(coded, 200, "transfer-encoding: chunked", length=len(body))


_STATUS_LINES = {
    "garbage": b"\x00\x01\x02\x03 garbage",
    "no-version": b"200 OK",
    "no-status": b"HTTP/1.1",
    "letters": b"HTTP/1.1 abc OK",
    "two-digits": b"HTTP/1.1 20 OK",
    "four-digits": b"HTTP/1.1 2000 OK",
    "http-2": b"HTTP/2 200 OK",
    "http-9.9": b"HTTP/9.9 200 OK",
}
_NOT_HTTP = {
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "smtp": b"220 mail.example ESMTP ready\r\n",
    "http-0.9": b"<html>hello</html>\n",
    "tls": b"\x15\x03\x03\x00\x02\x02\x46",
    "http-2-frames": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00\x03\x00\x00\x00\x64" * 3,
}

FAULTS = (
    *(_bad(f"status-line-{name}", f"begins with {line!r}", _after(line)) for name, line in _STATUS_LINES.items()),
    *(_bad(f"not-http-{name}", f"sends {data[:20]!r}, FIN", send(data, "fin")) for name, data in _NOT_HTTP.items()),
    _fine("status-line-no-reason", "no reason phrase", _after(b"HTTP/1.1 200 ")),
    _fine("status-line-http-1.0", "an answer of HTTP/1.0", _after(b"HTTP/1.0 200 OK")),
    _fine(
        "early-hints",
        "103 and 100 before the answer",
        send(_before(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")),
    ),
    _bad("headers-100k", "100,000 header lines", send(_before(_OK + b"x-n: v\r\n" * 100_000), "fin"), _LARGE),
    _bad("header-1mib", "a header of 1 MiB", respond(record, 200, "x-long: " + "v" * 1024**2), _LARGE),
    _bad("header-endless", "a header without end", flood(_OK + b"x-long: ", b"v" * 65_536), _LARGE),
    _bad("headers-endless", "header lines without end", flood(_OK, b"x-n: v\r\n" * 8192), _LARGE),
    Fault(
        "trailers-endless",
        "B",
        "trailer lines without end",
        _PROTOCOL,
        None,
        flood(answer(b"0\r\n", 200, "transfer-encoding: chunked", length=""), b"x-n: v\r\n" * 8192),
        also=(_LARGE, "DecodeError", "ConnectionLostError"),
    ),
    _bad("header-nul", "a NUL in a header value", respond(record, 200, "x-nul: a\0b")),
    _bad("header-space-colon", "a space before the colon", respond(record, 200, "x-space : 1")),
    _bad("header-no-colon", "a header line without a colon", respond(record, 200, "no colon here")),
    _fine("header-folded", "a header folded over two lines", respond(record, 200, "x-fold: a\r\n b"), _PROTOCOL),
    _fine("header-latin-1", "bytes beyond ASCII in a header value", respond(record, 200, "x-latin: é")),
    _fine("bare-newlines", "lines end with LF alone", send(_bare_newlines), _PROTOCOL),
    _bad("two-lengths", "two Content-Lengths that differ", _lengths("{}", "5")),
    _bad("length-list", "a Content-Length that is a list", _lengths("{}, 5")),
    _bad("length-and-chunks", "Content-Length and chunks", send(_length_and_chunks, "fin")),
    _bad("length-negative", "a negative Content-Length", _lengths("-1")),
    _bad("length-plus", "a Content-Length with a sign", _lengths("+{}")),
    _bad("length-letters", "a Content-Length in letters", _lengths("many")),
    _bad("length-empty", "an empty Content-Length", _lengths("")),
    _bad("transfer-encoding-unknown", "an unknown Transfer-Encoding", _with("transfer-encoding: zebra"), "ok"),
    Fault(
        "switching-protocols",
        "B",
        "101 that nobody asked for",
        _UNEXPECTED,
        False,
        send(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "stall"),
        also=(_PROTOCOL,),
    ),
)
