"""Faults in how a body is encoded and labelled."""

from __future__ import annotations

import gzip
import zlib
from functools import cache

from .messages import Request, answer, record
from .scripts import Fault, Script, Source, respond, send

_PROTOCOL, _DECODE, _UNEXPECTED = "ProtocolError", "DecodeError", "UnexpectedResponseError"
_MIB = 1024**2

BOMB = 64 * _MIB
"""Bytes that the gzip bomb grows to."""
HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head>\r\n\x1b[31m" + b"<p>Hello</p>" * 100


def _c(name: str, description: str, expect: str, retried: bool | int | None, script: Script, *also: str) -> Fault:
    return Fault(name, "C", description, expect, retried, script, also=also)


def _encoded(body: Source, encoding: str = "gzip") -> Script:
    return respond(body, 200, f"content-encoding: {encoding}")


def _labelled(content_type: str | None) -> Script:
    return respond(content_type=content_type)


def _zipped(request: Request) -> bytes:
    return gzip.compress(record(request), mtime=0)


def _cut(request: Request) -> bytes:
    return _zipped(request)[:-30]


def _no_trailer(request: Request) -> bytes:
    return _zipped(request)[:-8]


def _twice(request: Request) -> bytes:
    return gzip.compress(_zipped(request), mtime=0)


def _deflated(request: Request) -> bytes:
    return zlib.compress(record(request))


def _members(request: Request) -> bytes:
    """Return the good body in 5,000 gzip members, all but the last of one space."""
    return gzip.compress(b" ", mtime=0) * 4999 + _zipped(request)


def _corrupt(request: Request) -> bytes:
    """Return the good body, zipped, but of the block type that does not exist. RFC 1951 section 3.2.3."""
    whole = bytearray(_zipped(request))
    whole[10] |= 0b110
    return bytes(whole)


def _other_sum(request: Request) -> bytes:
    """Return the good body, zipped, with another checksum."""
    whole = bytearray(_zipped(request))
    whole[-8] ^= 0xFF
    return bytes(whole)


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"data":{"id":"')]
    parts += [packer.compress(b"x" * _MIB) for _ in range(BOMB // _MIB)]
    return b"".join([*parts, packer.compress(b'"}}'), packer.flush()])


def _utf_16(request: Request) -> bytes:
    return record(request).decode().encode("utf-16")


FAULTS = (
    _c("gzip", "the good answer, zipped", "ok", False, _encoded(_zipped)),
    _c(
        "gzip-bomb",
        "64 KiB that grow a thousandfold",
        "ResponseTooLargeError",
        False,
        _encoded(lambda _: _bomb()),
    ),
    _c("gzip-members", "5,000 gzip members", _PROTOCOL, None, _encoded(_members), _DECODE, "ok"),
    _c("gzip-corrupt", "an impossible block", _PROTOCOL, 1, _encoded(_corrupt)),
    _c("gzip-not", "says gzip and is not", _PROTOCOL, 1, _encoded(record)),
    _c(
        "gzip-cut",
        "cut, but of the right length",
        _DECODE,
        1,
        _encoded(_cut),
        "ConnectionLostError",
        _PROTOCOL,
    ),
    _c("gzip-no-trailer", "without the trailer", "ok", None, _encoded(_no_trailer), _DECODE, _PROTOCOL),
    _c("gzip-other-sum", "with another checksum", "ok", None, _encoded(_other_sum), _DECODE, _PROTOCOL),
    _c("gzip-nothing", "says gzip, and the body is empty", _UNEXPECTED, 1, _encoded(b""), _PROTOCOL),
    _c("gzip-twice", "gzip in gzip", _PROTOCOL, False, _encoded(_twice, "gzip, gzip")),
    _c("encoding-unknown", "an encoding that does not exist", _PROTOCOL, False, _encoded(record, "zebra")),
    _c("encoding-x-gzip", "gzip by its old name, not asked for", _PROTOCOL, False, _encoded(_zipped, "x-gzip")),
    _c("encoding-br", "brotli, not asked for", _PROTOCOL, False, _encoded(record, "br")),
    _c("encoding-deflate", "deflate, not asked for", _PROTOCOL, False, _encoded(_deflated, "deflate"), "ok"),
    _c("encoding-identity", "the encoding `identity`", "ok", False, _encoded(record, "identity")),
    _c("type-text", "JSON labelled text/plain", "ok", False, _labelled("text/plain")),
    _c("type-html", "JSON labelled text/html", "ok", False, _labelled("text/html")),
    _c("type-none", "JSON without a label", "ok", False, _labelled(None)),
    _c("type-garbage", "JSON with a garbage label", "ok", False, _labelled(";;=/")),
    _c("type-lying", "UTF-8 labelled UTF-16", "ok", False, _labelled("application/json; charset=utf-16")),
    _c(
        "type-zebra",
        "a charset that does not exist",
        "ok",
        False,
        _labelled("application/json; charset=zebra"),
    ),
    _c(
        "html-200",
        "the page of a captive portal",
        _UNEXPECTED,
        False,
        respond(HTML, content_type="text/html"),
    ),
    _c("empty-200", "200 without a body", _UNEXPECTED, 1, respond(b"")),
    _c("blank-200", "200 with white space", _UNEXPECTED, 1, respond(b" \r\n\t ")),
    _c("no-content", "204 for a record", _UNEXPECTED, False, send(answer(status=204, length=""))),
    _c("no-content-body", "204 with a body", _UNEXPECTED, False, respond(record, 204, end="fin"), _PROTOCOL),
    _c("not-modified", "304, not asked for", _UNEXPECTED, False, send(answer(status=304, length=""))),
    _c(
        "bad-utf-8",
        "a string that is not UTF-8",
        _DECODE,
        False,
        respond(lambda r: record(r, remote_id="@").replace(b"@", b"\xff\xfe")),
    ),
    _c(
        "bom",
        "a byte order mark before the JSON",
        _DECODE,
        False,
        respond(lambda r: b"\xef\xbb\xbf" + record(r)),
        "ok",
    ),
    _c("utf-16", "JSON in UTF-16", _DECODE, False, respond(_utf_16)),
)
