"""Tools that show local variables, of a call that fails: none of them shows a piece of the API key."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, cast

import pytest
from rich.console import Console
from rich.logging import RichHandler
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from stackone_lms import RetryPolicy, SyncClient
from stackone_lms.errors import ConnectError, StackOneError
from stackone_lms.transport.base import Request, Response, Secret, SecretBytes, TimeLimits, TransportError
from tests.fake.fakes import FakeTransport
from tests.soak import further

PIECE = 10
"""So many characters in a row are a leak."""
LENGTHS = [120, *further(40, 72)]

Raised = tuple[type[BaseException], BaseException, TracebackType]


def key_of(length: int) -> str:
    """Return a key in which no piece occurs twice."""
    return "".join(f"k{n:03d}" for n in range(length // 4))


def leaked(key: str, text: str) -> list[str]:
    """Return the pieces of the key, or of the header made of it, that a text holds."""
    encoded = base64.b64encode(f"{key}:".encode()).decode()
    flat = "".join(text.split())
    return [
        spelling[at : at + PIECE]
        for spelling in (key, encoded)
        for at in range(len(spelling) - PIECE + 1)
        if spelling[at : at + PIECE] in flat
    ]


def fail(key: Secret) -> Raised:
    """Return what a failing call raises, with the frames of everything on its way."""

    class Broken(FakeTransport):
        async def send(self, request: Request, limits: TimeLimits) -> Response:
            raise ZeroDivisionError

    with SyncClient(key, "account", transport=Broken()) as client:
        try:
            client.completions.get("x")
        except ZeroDivisionError as error:
            return type(error), error, cast("TracebackType", error.__traceback__)
    raise AssertionError


def by_rich(raised: Raised, most: int) -> str:
    out = io.StringIO()
    shown = Traceback.from_exception(*raised, show_locals=True, locals_max_string=most)
    Console(file=out, width=200).print(shown)
    return out.getvalue()


def by_rich_logging(raised: Raised, most: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=200)
    handler = RichHandler(console=console, rich_tracebacks=True, tracebacks_show_locals=True, locals_max_string=most)
    handler.emit(logging.makeLogRecord({"msg": "failed", "exc_info": raised, "levelno": 40, "levelname": "ERROR"}))
    return out.getvalue()


def by_structlog_dict(raised: Raised, most: int) -> str:
    tracebacks = pytest.importorskip("structlog.tracebacks")
    return repr(tracebacks.ExceptionDictTransformer(show_locals=True, locals_max_string=most)(raised))


def by_structlog_without_rich(raised: Raised, most: int) -> str:
    tracebacks = pytest.importorskip("structlog.tracebacks")
    transformer = tracebacks.ExceptionDictTransformer(show_locals=True, locals_max_string=most, use_rich=False)
    return repr(transformer(raised))


def by_structlog_console(raised: Raised, most: int) -> str:
    dev = pytest.importorskip("structlog.dev")
    out = io.StringIO()
    dev.RichTracebackFormatter(show_locals=True, locals_max_string=most, width=200)(out, raised)
    return out.getvalue()


def by_loguru(raised: Raised, _: int) -> str:
    logger = pytest.importorskip("loguru").logger
    out = io.StringIO()
    handler = logger.add(out, diagnose=True, backtrace=True)
    logger.opt(exception=raised).error("failed")
    logger.remove(handler)
    return out.getvalue()


def by_sentry(raised: Raised, _: int) -> str:
    utils = pytest.importorskip("sentry_sdk.utils")
    from sentry_sdk.serializer import serialize

    options = {"include_local_variables": True, "include_source_context": True, "max_value_length": 1000}
    event, _hint = utils.event_from_exception(raised, client_options=options)
    return repr(serialize(event))


def by_ipython(raised: Raised, _: int) -> str:
    ultratb = pytest.importorskip("IPython.core.ultratb")
    return str(ultratb.VerboseTB(theme_name="nocolor", include_vars=True).text(*raised))


TOOLS: list[Callable[[Raised, int], str]] = [
    *(by_rich, by_rich_logging, by_structlog_dict, by_structlog_without_rich, by_structlog_console),
    *(by_loguru, by_sentry, by_ipython),
]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_no_tool_shows_a_piece_of_the_key(tool: Callable[[Raised, int], str], length: int) -> None:
    """With whatever number of characters they show of long values."""
    key = key_of(length)
    raised = fail(Secret(key))
    for most in (10, 20, 40, 60, 80, 120, 200):
        text = tool(raised, most)
        assert "ZeroDivisionError" in text
        assert "headers" in text or tool in {by_loguru, by_ipython}  # it does show local variables
        assert leaked(key, text) == [], most


@pytest.mark.parametrize("most", [None, 10, 80, 200])
def test_what_holds_secrets_shows_none_where_rich_prints_it(most: int | None) -> None:
    """Rich asks structs for their fields, whatever their repr says."""
    key = key_of(120)
    sent: list[Any] = []

    class Keeping(FakeTransport):
        async def send(self, request: Request, limits: TimeLimits) -> Response:
            sent.append(request)
            raise TransportError(StackOneError("no"), request_sent=False)

    with SyncClient(key, "account", transport=Keeping()) as client:
        with pytest.raises(StackOneError):
            client.completions.get("x")
        settings = client._bound.settings  # pyright: ignore[reportPrivateUsage]
        for one in (client, settings, dict(settings.headers), *sent):
            assert leaked(key, pretty_repr(one, max_string=most)) == []


def test_a_secret_stays_one() -> None:
    """In slices and formats; the text itself is had by `str` and by joining."""
    for secret in (Secret("abcdef"), SecretBytes(b"abcdef")):
        for shown in (secret[:3], secret[1:], secret[::2]):
            assert repr(shown) == "'***'"
            assert type(shown) is type(secret)
        assert f"{secret} {secret:>5} {secret!r}" == "***   *** '***'"
    assert Secret("abcdef")[1:3] == "bc"
    assert repr(Secret("abcdef")[0]) == "'***'"
    assert SecretBytes(b"abc")[0] == 97
    assert str(Secret("abc")) == "".join([Secret("a"), "bc"]) == "abc"


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_no_tool_shows_a_piece_of_the_proxys_password(tool: Callable[[Raised, int], str], length: int) -> None:
    """Where the proxy is not there; the frame that wrote the password down is not looked at."""
    password = key_of(length)
    proxy = f"http://:{password}@127.0.0.1:1"
    options: dict[str, Any] = {"base_url": "https://server.invalid", "retry": RetryPolicy(attempts=1)}
    with SyncClient("some-key", "account", proxy=proxy, **options) as client, pytest.raises(ConnectError) as caught:
        client.users.get("x")
    assert caught.tb.tb_next is not None
    for most in (10, 20, 40, 60, 80, 120, 200):
        text = tool((caught.type, caught.value, caught.tb.tb_next), most)
        assert "ConnectError" in text
        assert leaked(password, text.replace("\n", "")) == [], most
        assert base64.b64encode(f":{password}".encode()).decode()[:PIECE] not in text
