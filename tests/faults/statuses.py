"""Error statuses, their bodies, and what they say about when to come back."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from email.utils import formatdate

from .connection import Connection
from .encodings import HTML
from .messages import Request, answer, problem
from .scripts import Fault, Script, fail, flood, ok, respond

_LIMIT, _SERVER, _GATEWAY = "RateLimitError", "InternalServerError", "BadGatewayError"
_BAD, _AUTH, _MISSING = "BadRequestError", "AuthenticationError", "NotFoundError"
_RETRIED = {
    408: "RequestTimeoutError",
    429: _LIMIT,
    500: _SERVER,
    502: _GATEWAY,
    503: _SERVER,
    504: _SERVER,
    520: _SERVER,
    530: _SERVER,
}
_FINAL = {
    400: _BAD,
    401: _AUTH,
    402: "APIStatusError",
    403: "PermissionDeniedError",
    404: _MISSING,
    405: "APIStatusError",
    409: "ConflictError",
    410: "APIStatusError",
    412: "PreconditionFailedError",
    415: "APIStatusError",
    418: "APIStatusError",
    422: "UnprocessableEntityError",
    451: "APIStatusError",
    499: "APIStatusError",
    501: "NotSupportedError",
    505: _SERVER,
    507: _SERVER,
    519: _SERVER,
    599: _SERVER,
}
_HOUR = 3600
RATE = 50.0
"""Requests a second that `rate-limited` lets through."""
WIDTH = 4
"""Requests at a time that `narrow` lets through."""


def _e(name: str, description: str, expect: str, retried: bool | int | None, script: Script, *also: str) -> Fault:
    return Fault(name, "E", description, expect, retried, script, also=also)


def _now(*lines: Callable[[float], str]) -> Script:
    """Answer 429 with these header lines, made of the present time."""

    async def script(connection: Connection, request: Request) -> None:
        await fail(429, *(line(time.time()) for line in lines))(connection, request)

    return script


def _in(seconds: float, *, clock: float = 0) -> Script:
    """Answer 429 with a date so far ahead, by a clock that goes wrong by `clock` seconds."""
    return _now(
        lambda now: f"date: {formatdate(now + clock, usegmt=True)}",
        lambda now: f"retry-after: {formatdate(now + clock + seconds, usegmt=True)}",
    )


def _after(value: str) -> Script:
    return fail(429, f"retry-after: {value}")


_IGNORED = {
    "negative": "-5",
    "garbage": "soon",
    "empty": "",
    "inf": "inf",
    "nan": "nan",
    "1e3": "1e3",
    "1_0": "1_0",
    "hex": "0x10",
    "plus": "+5",
    "superscript": "²",
    "list": "1, 2",
    "unit": "5s",
    "bad-date": "Wed, 99 Foo 2026 25:61:61 GMT",
    "short-date": "2026-11-24",
    "quoted": '"5"',
}
_TOO_LONG = {
    "120": "120",
    "ten-years": "315360000",
    "5000-digits": "9" * 5000,
    "far-date": "Fri, 31 Dec 9999 23:59:59 GMT",
}
_OBEYED = {"0": "0", "1": "1", "fraction": "0.5", "padded": "  1\t", "zeros": "0001"}

_AFTER = (
    *(
        _e(f"retry-after:{name}", f"429 with {value[:40]!r}: ignored", _LIMIT, True, _after(value))
        for name, value in _IGNORED.items()
    ),
    *(
        _e(f"retry-after:{name}", f"429 with {value[:40]!r}: raised at once", _LIMIT, False, _after(value))
        for name, value in _TOO_LONG.items()
    ),
    *(
        _e(f"retry-after:{name}", f"429 with {value!r}: obeyed", _LIMIT, True, _after(value))
        for name, value in _OBEYED.items()
    ),
    _e("retry-after:date", "429 with a date 2 s ahead", _LIMIT, True, _in(2)),
    _e("retry-after:past", "429 with a date in the past", _LIMIT, True, _in(-_HOUR)),
    _e("retry-after:clock-fast", "2 s ahead, by a clock an hour fast", _LIMIT, True, _in(2, clock=_HOUR)),
    _e("retry-after:clock-slow", "2 s ahead, by a clock an hour slow", _LIMIT, True, _in(2, clock=-_HOUR)),
    _e("retry-after:two", "429 with two headers", _LIMIT, True, fail(429, "retry-after: 1", "retry-after: 2")),
    _e("retry-after:reset", "429 with RateLimit-Reset only", _LIMIT, True, fail(429, "ratelimit-reset: 1")),
    _e("retry-after:ms", "429 with retry-after-ms only", _LIMIT, True, fail(429, "retry-after-ms: 100")),
    _e("503-retry-after:1", "503 with one second", _SERVER, True, fail(503, "retry-after: 1")),
    _e("503-retry-after:120", "503 with 120 s: raised at once", _SERVER, False, fail(503, "retry-after: 120")),
    _e("408-retry-after:1", "408 with one second", "RequestTimeoutError", True, fail(408, "retry-after: 1")),
)


async def _echo(connection: Connection, request: Request) -> None:
    """Answer 401 with the caller's credentials, in the body and in the headers."""
    sent, account = request.header("authorization"), request.header("x-account-id")
    key = base64.b64decode(sent.partition(" ")[2]).decode("latin-1")
    body = problem(401, f"no: {sent} ({key}) of {account}", errorCode=key, provider_errors=[{"url": account}])
    await connection.send(answer(body, 401, f"www-authenticate: {sent}", f"x-account: {account}"))


async def _rate_limited(connection: Connection, request: Request) -> None:
    """Answer 429 to what exceeds `RATE` (a bucket of a tenth of a second)."""
    memory, now = connection.settings.memory, time.monotonic()
    most = RATE / 10
    level = max(0.0, memory["level"] - RATE * (now - memory["then"]))
    memory["then"] = now
    memory["level"] = level if level + 1 > most else level + 1
    await (fail(429, "retry-after: 1") if level + 1 > most else ok)(connection, request)


async def _narrow(connection: Connection, request: Request) -> None:
    """Work a tick on each request, and answer 429 when more than `WIDTH` are at work."""
    if connection.scope[1].in_flight > WIDTH:
        await fail(429)(connection, request)
    else:
        await connection.wait(connection.settings.tick)
        await ok(connection, request)


_BODIES = (
    _e("html-502", "502 in a proxy's HTML", _GATEWAY, True, respond(HTML, 502, content_type="text/html")),
    _e("html-404", "404 in a proxy's HTML", _MISSING, False, respond(HTML, 404, content_type="text/html")),
    _e("empty-500", "500 without a body", _SERVER, True, respond(b"", 500)),
    _e(
        "text-403",
        "403 in plain text",
        "PermissionDeniedError",
        False,
        respond(b"blocked", 403, content_type=None),
    ),
    _e("error-null", "400, and the body is null", _BAD, False, respond(b"null", 400)),
    _e("error-list", "400, and the body is a list", _BAD, False, respond(b'["no"]', 400)),
    _e("error-cut", "400, and the JSON is cut", _BAD, False, respond(problem(400)[:-20], 400)),
    _e("error-bytes", "400, and the body is not UTF-8", _BAD, False, respond(b"\xff\xfe\x00" * 50, 400)),
    _e("error-deep", "400, and the body nests too deep", _BAD, False, respond(b"[" * 100_000, 400)),
    _e(
        "error-types",
        "400, and every field of another type",
        _BAD,
        False,
        fail(400, message={"a": 1}, errorCode=5, provider_errors="no", data=[]),
    ),
    _e("error-bare", "400, no timestamp", _BAD, False, respond(b'{"statusCode":400,"message":"no"}', 400)),
    _e(
        "error-lost",
        "500, and the body is cut by RST",
        _SERVER,
        True,
        respond(problem(500), 500, length=10_000, end="rst"),
        "ConnectionLostError",
    ),
    _e(
        "error-gzip",
        "400, and the body says gzip and is not",
        _BAD,
        False,
        respond(problem(400), 400, "content-encoding: gzip"),
    ),
    _e(
        "error-64mib",
        "404 with a body of 64 MiB",
        _MISSING,
        False,
        flood(answer(status=404, length=64 * 1024**2), b"x" * 65_536, 64 * 1024**2),
    ),
    _e(
        "error-account",
        "401 about the linked account",
        "ProviderCredentialsError",
        False,
        fail(401, errorCode="AccountExpiredCredentialsError"),
    ),
    _e(
        "error-provider",
        "502 with what the provider said",
        _GATEWAY,
        True,
        fail(502, provider_errors=[{"status": 503, "raw": {"error": "down"}}, {}, None]),
    ),
    _e("error-echo", "401 that repeats the credentials", _AUTH, False, _echo),
    _e(
        "error-control",
        "400 with line breaks and escapes in the message",
        _BAD,
        False,
        fail(400, message="no\r\nERROR forged line\x1b[31m\u2028\x00\x7f"),
    ),
    _e("error-long", "400 with a message of 1 MiB", _BAD, False, fail(400, message="x" * 1024**2)),
)

FAULTS = (
    *(_e(f"status-{status}", f"{status}", name, True, fail(status)) for status, name in _RETRIED.items()),
    *(_e(f"status-{status}", f"{status}", name, False, fail(status)) for status, name in _FINAL.items()),
    *_AFTER,
    *_BODIES,
    _e("rate-limited", "429 to all above a rate", "ok", None, _rate_limited, _LIMIT),
    _e("narrow", "429 to all above a number at a time", "ok", None, _narrow, _LIMIT),
)
