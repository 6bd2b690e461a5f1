"""Tools that show local variables, of a call that fails: none of them shows a piece of the API key."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import pickle
import socket
import ssl
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import pytest
import trustme
from rich.console import Console
from rich.logging import RichHandler
from rich.pretty import pretty_repr
from rich.traceback import Traceback

from stackone_lms import AsyncClient, RetryPolicy, SyncClient, Timeout
from stackone_lms.errors import APITimeoutError, ConnectError, StackOneError, TLSError
from stackone_lms.transport.base import Request, Response, Secret, SecretBytes, TimeLimits, TransportError
from stackone_lms.transport.connections import Resolver
from tests.fake.fakes import FakeTransport
from tests.faults.children import run
from tests.faults.sdk import TESTS
from tests.soak import further
from tests.transport.server import always, answer, serving

from .proxy import Reaction, corporate, hang_up, keep_silent, refusal, reset, says

PIECE = 10
"""So many characters in a row are a leak."""
LENGTHS = [120, *further(40, 72)]

Raised = tuple[type[BaseException], BaseException, TracebackType]


def key_of(length: int) -> str:
    """Return a key in which no piece occurs twice."""
    return "".join(f"k{n:03d}" for n in range(length // 4))


def leaked(key: str, text: str, login: str = "{}:") -> list[str]:
    """Return the pieces of the key, or of the header made of it, that a text holds."""
    encoded = base64.b64encode(login.format(key).encode()).decode()
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


TOOLS: list[Any] = [
    *(by_rich, by_structlog_dict, by_structlog_without_rich, by_loguru, by_sentry),
    *further(by_rich_logging, by_structlog_console, by_ipython),
]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_no_tool_shows_a_piece_of_the_key(tool: Callable[[Raised, int], str], length: int) -> None:
    """With whatever number of characters they show of long values."""
    key = key_of(length)
    raised = fail(Secret(key))
    for most in (10, 40, 80, 200):
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


TYPER = """
    import os, sys
    import typer
    from stackone_lms import RetryPolicy, SyncClient

    os.environ["STACKONE_API_KEY"] = sys.argv.pop()
    app = typer.Typer(pretty_exceptions_show_locals=True, pretty_exceptions_short=False)

    @app.command()
    def ask(how: str):
        def fail(_):
            raise ZeroDivisionError

        hook = fail if how == "hook" else None
        with SyncClient(account_id="a", base_url="http://127.0.0.1:1", on_request=hook, retry=1) as client:
            client.users.get("x")

    app()
"""
"""A program that shows its errors as typer does, with an environment's typer."""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("how", ["hook", *further("refused")])
async def test_typer_shows_no_piece_of_the_key(how: str, length: int) -> None:
    pytest.importorskip("typer")
    key = key_of(length)
    finished = await run(TYPER, how, key, within=60)
    check_what_typer_showed(key, how, finished.code, finished.err)


def check_what_typer_showed(key: str, how: str, code: int, err: str) -> None:
    """It is the traceback of a failed call, with local variables."""
    assert code == 1
    assert ("ZeroDivisionError" if how == "hook" else "ConnectError") in err
    assert "locals" in err
    assert "settings" in err
    assert leaked(key, without_frames(err)) == []


def without_frames(text: str) -> str:
    """Return a text without the lines around it that rich draws, which cut words in two."""
    return text.translate(dict.fromkeys(map(ord, "│╭╮╰╯─")))


# The proxy's password

PASSWORD = key_of(120)
LOGIN = "me:{}"


KINDS: dict[str, tuple[Reaction | None, type[StackOneError]]] = {
    "407": (refusal("407 Proxy Authentication Required"), ConnectError),
    "403": (refusal("403 Forbidden"), ConnectError),
    "502": (refusal("502 Bad Gateway"), ConnectError),
    "FIN": (hang_up, ConnectError),
    "RST": (reset, ConnectError),
    "garbage": (says("SSH-2.0-OpenSSH_9.6\r\n"), ConnectError),
    "silence": (keep_silent, APITimeoutError),
    "no TLS": (says("HTTP/1.1 200 Connection established\r\n\r\nno TLS at all"), StackOneError),
    "certificate": (None, TLSError),
    "no name": (None, ConnectError),
    "refused": (None, ConnectError),
}


def shown_of(error: BaseException) -> str:
    """Return whatever a tool could show of an error: all local variables of all frames but the tests', in all ways."""
    shown: list[str] = []
    behind: BaseException | None = error
    while behind is not None:
        shown += [str(behind), repr(behind), repr(behind.args), repr(vars(behind))]
        for frame, _ in traceback.walk_tb(behind.__traceback__):
            if Path(frame.f_code.co_filename).is_relative_to(TESTS):
                continue
            for value in (frame.f_locals, *frame.f_locals.values()):
                shown += [repr(value), *(pretty_repr(value, max_string=most) for most in (10, 80, 200))]
        behind = behind.__cause__ or behind.__context__
    return "\n".join(shown)


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
@pytest.mark.parametrize("blocking", [False, True], ids=["AsyncClient", "SyncClient"])
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_befalls_a_proxy_shows_no_piece_of_its_password(
    kind: str, blocking: bool, transport: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reaction, expected = KINDS[kind]
    if kind == "no name":

        async def nowhere(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "no")

        monkeypatch.setattr(Resolver, "resolve", nowhere)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    reactions = [] if reaction is None else [reaction]
    async with (
        serving(always(answer()), context=context) as server,
        corporate(*reactions, then_tunnel=not reactions) as proxy,
    ):
        where = {"no name": "proxy.invalid:3128", "refused": "127.0.0.1:1"}.get(kind, proxy.url.removeprefix("http://"))
        options: dict[str, Any] = {
            "base_url": server.url,
            "proxy": f"http://me:{PASSWORD}@{where}",
            "transport": transport,
            "retry": RetryPolicy(attempts=2, base=0.001, cap=0.001),
            "timeout": Timeout(connect=0.3 if kind == "silence" else 60, total=90),
        }
        if blocking:
            with SyncClient("some-key", "account", **options) as client:
                error = await asyncio.to_thread(raised_by, client)
        else:
            async with AsyncClient("some-key", "account", **options) as one:
                with pytest.raises(StackOneError) as caught:
                    await one.users.completions.create("u", learning_object_external_reference="x")
                error = caught.value
    assert isinstance(error, expected), error
    assert any("Proxy-Authorization" in head.decode() for head in proxy.heads) or where != proxy.url[7:]
    assert leaked(PASSWORD, shown_of(error), LOGIN) == []
    assert leaked(PASSWORD, caplog.text + repr(options["retry"]) + repr(vars(error)), LOGIN) == []
    assert leaked(PASSWORD, repr(pickle.dumps(error)), LOGIN) == []


def raised_by(client: SyncClient) -> StackOneError:
    try:
        client.users.completions.create("u", learning_object_external_reference="x")
    except StackOneError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_no_tool_shows_a_piece_of_the_proxys_password(tool: Callable[[Raised, int], str]) -> None:
    """Where the proxy is not there; the frame that wrote the password down is not looked at."""
    options: dict[str, Any] = {"base_url": "https://server.invalid", "retry": RetryPolicy(attempts=1)}
    proxy = f"http://me:{PASSWORD}@127.0.0.1:1"
    with SyncClient("some-key", "account", proxy=proxy, **options) as client, pytest.raises(ConnectError) as caught:
        client.users.get("x")
    assert caught.tb.tb_next is not None
    for most in (10, 80, 200):
        text = tool((caught.type, caught.value, caught.tb.tb_next), most)
        assert "ConnectError" in text
        assert leaked(PASSWORD, without_frames(text), LOGIN) == [], most
