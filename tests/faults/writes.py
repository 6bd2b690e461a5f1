"""Writes that take effect, or not, and whose answer does not arrive. `Stats.commits` counts the effects."""

from __future__ import annotations

from .scripts import Fault, Script, commits_then, cut_at, fail, ok, respond, send

_LOST, _SERVER = "ConnectionLostError", "InternalServerError"


def _w(name: str, description: str, expect: str, script: Script, *, retried: bool = False) -> Fault:
    return Fault(name, "W", description, expect, retried, script, call="write")


FAULTS = (
    _w("write-ok", "takes effect and says so", "ok", ok),
    _w("commit-then-cut", "takes effect, then RST", _LOST, commits_then(cut_at("nothing", "rst"))),
    _w("commit-then-fin", "takes effect, then FIN", _LOST, commits_then(cut_at("nothing", "fin"))),
    _w(
        "commit-then-cut-body",
        "takes effect, RST inside the body",
        _LOST,
        commits_then(cut_at("body", "rst")),
    ),
    _w("commit-then-500", "takes effect, then 500", _SERVER, commits_then(fail(500))),
    _w("commit-then-503", "takes effect, then 503", _SERVER, commits_then(fail(503))),
    _w("commit-then-502", "takes effect, then 502", "BadGatewayError", commits_then(fail(502))),
    _w("commit-then-408", "takes effect, then 408", "RequestTimeoutError", commits_then(fail(408))),
    _w("commit-then-stall", "takes effect, then silence", "APITimeoutError", commits_then(send(b"", "stall"))),
    _w("commit-then-garbage", "takes effect, then no JSON", "DecodeError", commits_then(respond(b"{"))),
    _w("cut-before-commit", "RST before it takes effect", _LOST, cut_at("nothing", "rst")),
    _w("write-429", "429, and no effect", "RateLimitError", fail(429), retried=True),
    _w("write-400", "400, and no effect", "BadRequestError", fail(400)),
)
