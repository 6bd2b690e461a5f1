"""Faults in the JSON of a body and in the record that it holds."""

from __future__ import annotations

from .messages import Request, dumps, problem, record
from .scripts import Fault, Script, Source, added, data, replaced, respond

_DECODE, _UNEXPECTED, _MISMATCH = "DecodeError", "UnexpectedResponseError", "IdMismatchError"
_DEEP = b'{"a":[' * 50_000 + b"]}" * 50_000
_DIGITS = b"9" * 5000
_NUMBERS = {"nan": b"NaN", "infinity": b"-Infinity", "1e999": b"1e999", "5000-digits": _DIGITS}


def _c(name: str, description: str, expect: str, retried: bool | int | None, script: Script, *also: str) -> Fault:
    return Fault(name, "C", description, expect, retried, script, also=also)


def _bad(name: str, description: str, script: Script, *also: str, retried: int | bool = False) -> Fault:
    return _c(name, description, _DECODE, retried, script, *also)


def _ok(name: str, description: str, script: Script, *also: str) -> Fault:
    return _c(name, description, "ok", False, script, *also)


def _field(name: str, literal: bytes) -> Script:
    """Answer with this literal as a field of the record."""
    return respond(lambda request: record(request, **{name: "@"}).replace(b'"@"', literal))


def _score(number: bytes) -> Script:
    return _field("score", b'{"percentage":%b}' % number)


def _cut(request: Request) -> bytes:
    return record(request)[:-10]


def _id_twice(request: Request) -> bytes:
    return b'{"data":{"id":%b,"id":"other"},"raw":null}' % dumps(request.id)


def _bare(request: Request) -> bytes:
    return dumps({"data": {"id": request.id}})


def _no_id(_: Request) -> bytes:
    return dumps({"data": {"remote_id": "1"}, "raw": None})


def _behind(tail: bytes) -> Source:
    return lambda request: record(request) + tail


FAULTS = (
    _bad("json-cut", "cut JSON, of the right length", respond(_cut), retried=1),
    _bad("json-garbage", "garbage behind the JSON", respond(_behind(b"garbage"))),
    _bad("json-two", "two documents", respond(_behind(b"{}"))),
    _bad("json-null", "`null`", respond(b"null")),
    _bad("json-array", "`[]`", respond(b"[]")),
    _bad("json-string", "a string", respond(b'"ok"')),
    _bad("json-number", "a number", respond(b"42")),
    _bad("json-empty", "`{}`", respond(b"{}")),
    _bad("json-quotes", "single quotes", respond(b"{'data': {}}")),
    _bad("data-null", "`data` is null", respond(b'{"data":null,"raw":null}'), _UNEXPECTED),
    _bad("data-string", "`data` is a string", respond(b'{"data":"ok"}')),
    _bad("data-list", "`data` is a list", respond(b'{"data":[]}')),
    _bad("string-surrogate", "half a surrogate pair", _field("remote_id", rb'"\ud800"'), "ok"),
    _bad("string-control", "a raw control character in a string", _field("remote_id", b'"a\nb"')),
    *(
        _bad(f"number-{name}", f"a score of {literal[:10]!r}", _score(literal), *also)
        for (name, literal), also in zip(_NUMBERS.items(), ((), (), (), ("ok",)), strict=True)
    ),
    *(
        _c(
            f"unknown-{name}",
            f"{literal[:10]!r} in an unknown field",
            expect,
            False,
            added("unknown", literal),
        )
        for (name, literal), expect in zip(_NUMBERS.items(), (_DECODE, _DECODE, "ok", "ok"), strict=True)
    ),
    _bad("deep", "100,000 levels in a field", _field("unified_custom_fields", b'{"a":%b}' % _DEEP)),
    _bad("deep-unknown", "100,000 levels in an unknown field", added("unknown", _DEEP)),
    _bad("deep-unclosed", "100,000 levels that never close", respond(b"[" * 100_000)),
    _bad("id-object", "the id is an object", data(id={"value": "1"})),
    _bad("date-garbage", "a date that is none", data(updated_at="yesterday"), "ok"),
    _bad("date-number", "a date that is a number", data(updated_at=1626876000), "ok"),
    _ok("date-only", "a date without a time", data(updated_at="2021-07-21"), _DECODE),
    _ok("date-no-zone", "a date without a time zone", data(updated_at="2021-07-21T14:00:00"), _DECODE),
    _ok("enum-unknown", "an unknown enum value", data(result={"value": "Excellent", "source_value": 1})),
    _ok("enum-null", "an enum that is null", data(result=None)),
    _ok("fields-new", "fields that nobody knows", data(brand_new={"a": [1, None, {"b": True}]})),
    _ok("fields-missing", "nothing but the id", respond(_bare)),
    _c("id-other", "the record of another id", _MISMATCH, 1, data(id="other")),
    _c("id-number", "a number as id, which is another id than asked for", _MISMATCH, 1, data(id=1)),
    _ok("id-null", "a record whose id is null", data(id=None)),
    _ok("id-missing", "a record without an id", respond(_no_id)),
    _c("id-twice", "two ids, the second another one", _MISMATCH, None, respond(_id_twice)),
    _c("error-200", "the API's error body in a 200", _UNEXPECTED, False, respond(problem(502))),
    _c("error-heartbeat", "the same after heartbeats", "BadGatewayError", True, respond(b"\n\n\n" + problem(502))),
    _c("error-other", "some other error in a 200", _UNEXPECTED, False, respond(b'{"error":"no"}')),
    _ok("spaces", "white space around the JSON", replaced(b"{", b" \r\n\t{")),
)
