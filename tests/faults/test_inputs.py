"""What a caller passes: refused before anything is sent, or sent exactly as it is meant."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.errors import ConfigurationError, ConnectError, InvalidArgumentError, StackOneError

from . import FaultServer
from .sdk import ACCOUNT, KEY, SECRETS, Carrier, assert_presentable, client_for
from .threads import serving

REFUSED_IDS: tuple[Any, ...] = (
    "", ".", "..", "../accounts", "a/../b", "a/..", "./a", "a\\..\\b", "..\\a", "a\r\nb", "a\0b", "\t", "a\x7fb",
    "a\x85b", "\ud800", "a\udfffb", "x" * 1025, None, 5, b"x", ["x"], True,
)  # fmt: skip
ODD_IDS = (
    " ", "a b", "a/b", "/", "//x", "?", "a?b=c", "#", "a#b", "%", "%2e%2e", "%2F", "a%00", "+", "a+b", ";", "a;b", ":",
    "a:b@c", "&=", "é", "e\u0301", "世界", "\U0001f600", "...", "..a", "a..", "~", "[x]", "{x}", '"', "'", "<x>", "|",
    "^", "`", "\\", "a\\b", "http://evil.example/", "x" * 1024, "c28xIQaWQ6MQ", "@", "*", "!$(),",
)  # fmt: skip


def calls(client: AsyncClient) -> dict[str, Callable[[Any], Coroutine[Any, Any, Any]]]:
    """Return calls that take an id, one for each place in a path where an id can stand."""
    return {
        "get": client.completions.get,
        "first of two": lambda it: client.users.completions.get(it, "y"),
        "second of two": lambda it: client.users.completions.get("y", it),
        "list": lambda it: client.users.assignments.list(it).first_page(),
        "delete": lambda it: client.users.completions.delete("y", it),
        "create": lambda it: client.users.completions.create(it, learning_object_external_reference="x"),
    }


@pytest.mark.parametrize("id", REFUSED_IDS, ids=lambda it: ascii(it)[:20])
async def test_an_id_that_could_mean_another_path_is_refused(carrier: Carrier, id: Any) -> None:
    """InvalidArgumentError, wherever the id stands, and nothing is sent."""
    async with FaultServer() as server, client_for(carrier, server.base_url("ok")) as client:
        for call in calls(client).values():
            with pytest.raises(InvalidArgumentError) as caught:
                await call(id)
            assert_presentable(caught.value)
            assert isinstance(caught.value, ValueError)
        assert server.total.connections == 0


async def test_any_other_id_is_one_path_segment(carrier: Carrier) -> None:
    """It arrives as it was given: the server finds exactly this id between two slashes."""
    async with FaultServer() as server, client_for(carrier, server.base_url("ok")) as client:
        for count, id in enumerate(ODD_IDS, 1):
            assert (await client.completions.get(id)).data.id == id
            target = server.total.heads[-1].split(b" ")[1].decode("ascii")
            assert target.startswith("/f/ok/unified/lms/completions/")
            assert unquote(target.rpartition("/")[2]) == id
            assert (await client.users.completions.get(id, "y")).data.id == "y"
            target = server.total.heads[-1].split(b" ")[1].decode("ascii")
            assert [unquote(part) for part in target.split("/")][-3:] == [id, "completions", "y"]
            assert server.total.requests == 2 * count
        assert server.total.suspicious == []


_QUERIES: tuple[tuple[dict[str, Any], list[tuple[str, str]]], ...] = (
    ({"proxy": {"a&b=c": "1"}}, [("proxy[a&b=c]", "1")]),
    ({"proxy": {"a": "1&raw=true"}}, [("proxy[a]", "1&raw=true")]),
    ({"proxy": {"a]&x[": "b"}}, [("proxy[a]&x[]", "b")]),
    ({"proxy": {"#": "#?;+ %"}}, [("proxy[#]", "#?;+ %")]),
    ({"proxy": {"é": "世\U0001f600"}}, [("proxy[é]", "世\U0001f600")]),
    ({"proxy": {"a": {"b": ["1", "2"]}}}, [("proxy[a][b]", "1"), ("proxy[a][b]", "2")]),
    ({"proxy": {"a\r\nX-Evil: 1": "b\r\nX-Evil: 1"}}, [("proxy[a\r\nX-Evil: 1]", "b\r\nX-Evil: 1")]),
    ({"proxy": {"a": "\0"}}, [("proxy[a]", "\0")]),
    ({"fields": "a&raw=true,b"}, [("fields", "a&raw=true,b")]),
    ({"fields": ["id", "a=b"]}, [("fields", "id,a=b")]),
)


@pytest.mark.parametrize(("query", "expected"), _QUERIES, ids=lambda value: ascii(value)[:40])
async def test_a_query_holds_what_was_given_and_nothing_else(
    carrier: Carrier, query: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    """No value ends its parameter, adds another, or reaches the headers."""
    async with FaultServer() as server, client_for(carrier, server.base_url("ok")) as client:
        assert (await client.completions.get("x", **query)).data.id == "x"
        head = server.total.heads[-1].decode("ascii")
        _, _, sent = head.split(" ")[1].partition("?")
        assert parse_qsl(sent, keep_blank_values=True, strict_parsing=True) == expected
        assert "x-evil:" not in head.lower()
        assert server.total.suspicious == []


@pytest.mark.parametrize(
    "query",
    [
        {"proxy": {"a": "\ud800"}},
        {"proxy": {"\ud800": "a"}},
        {"proxy": {"a": float("nan")}},
        {"proxy": {"a": b"bytes"}},
        {"proxy": {1: "a"}},
        {"proxy": "a=b"},
        {"proxy": {"": "a"}},
        {"fields": [""]},
        {"fields": "\udfff"},
        {"fields": 5},
        {"raw": "true"},
    ],
    ids=ascii,
)
async def test_what_cannot_be_sent_is_refused(carrier: Carrier, query: dict[str, Any]) -> None:
    async with FaultServer() as server, client_for(carrier, server.base_url("ok")) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await client.completions.get("x", **query)
        assert_presentable(caught.value)
        assert server.total.connections == 0


TOKENS = ("a\r\nX-Evil: 1", "a\nb", "a\0b", " a", "a ", "a b", "é", "\ud800", "a\x7f", "")


@pytest.mark.parametrize("token", TOKENS, ids=ascii)
@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
def test_a_key_or_account_that_cannot_be_a_header_is_refused(kind: type[AsyncClient | SyncClient], token: str) -> None:
    """When the client or the view is made, with a message that does not show it."""
    secret = f"secret{token}" if token else ""
    client = kind("k", "a")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: kind(secret, "a"),
        lambda: kind("k", secret),
        lambda: client.with_options(account_id=secret),
    )
    for attempt in attempts:
        with pytest.raises((ConfigurationError, InvalidArgumentError)) as caught:
            attempt()
        assert "secret" not in str(caught.value)
        assert_presentable(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.stackone.com",
        "http://127.0.0.1.nip.io",
        "http://localhost.evil.example",
        "http://[::ffff:8.8.8.8]",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "https://user:pw@api.stackone.com",
        "https://@api.stackone.com",
        "https://api.stackone.com?x",
        "https://api.stackone.com?",
        "https://api.stackone.com/#",
        "https://api.stackone.com/../x",
        "https://api.stackone.com/%2e%2e/x",
        "ftp://api.stackone.com",
        "file:///etc/passwd",
        "//api.stackone.com",
        "api.stackone.com",
        "https://",
        "https:///path",
        "https://api.stackone.com\r\nX: y",
        "https://api.stackone.com:99999",
        "https://api.stackone.com:port",
        "https://api.stackone.com\\@evil.example",
        "https://ex\u00e4mple.com",
        "https://[::1",
        " https://api.stackone.com",
    ],
)
def test_a_base_url_that_would_leak_or_fail_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        AsyncClient(KEY, ACCOUNT, base_url=url)
    assert_presentable(caught.value)
    assert "user:pw" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://a.example/b/"])
def test_a_base_url_on_this_machine_or_with_https_is_fine(url: str) -> None:
    assert AsyncClient(KEY, ACCOUNT, base_url=url).base_url == url.rstrip("/")


@pytest.fixture
def hostile_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Point every variable that could redirect or authorize a request to a server."""

    def point(url: str) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "ws_proxy", "https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login evil password evil\ndefault login evil password evil\n")
        monkeypatch.setenv("NETRC", str(netrc))

    return point


async def test_plain_http_knows_no_proxy_and_nobody_reads_netrc(
    carrier: Carrier, hostile_environment: Callable[[str], None]
) -> None:
    """Through a proxy a plain request would show the key; netrc would replace it."""
    async with FaultServer() as evil, FaultServer() as server:
        hostile_environment(evil.url)
        async with client_for(carrier, server.base_url("ok")) as client:
            assert (await client.completions.get("x")).data.id == "x"
        assert evil.total.connections == 0
        (head,) = server.total.heads
        assert f"\r\nauthorization: basic {SECRETS[1]}\r\n".lower() in head.decode().lower()


async def test_a_proxy_of_the_environment_sees_no_secret(
    hostile_environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For https it is used, by `CONNECT`: what it sees is host and port; when it refuses, nothing goes around it."""
    monkeypatch.delenv("STACKONE_BASE_URL", raising=False)
    async with FaultServer() as proxy, FaultServer(tls="good") as server:
        hostile_environment(proxy.url)
        context = ssl.create_default_context(cadata=server.ca_pem)
        async with client_for("aiohttp", server.url, context=context) as client:
            with pytest.raises(StackOneError) as caught:
                await client.completions.get("x")
            assert_presentable(caught.value)
            assert isinstance(caught.value, ConnectError)
        assert server.total.connections == 0
        assert proxy.total.connections >= 1
        seen = b"".join(proxy.total.heads) + "".join(proxy.total.suspicious).encode()
        assert [secret for secret in SECRETS if secret.encode() in seen] == []


def test_threads_that_make_views_get_their_own_account(carrier: Carrier) -> None:
    """The account of a view is the one that its requests carry, however many are made at once."""
    from .sdk import blocking_client_for

    with serving(FaultServer()) as server, blocking_client_for(carrier, server.base_url("ok")) as client:
        server.total.heads = type(server.total.heads)(maxlen=400)

        def work(number: int) -> None:
            view = client.with_options(account_id=f"account-{number}")
            for n in range(10):
                view.completions.get(f"{number}-{n}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert server.total.requests == 200
        for head in server.total.heads:
            number = head.split(b" ")[1].rpartition(b"/")[2].partition(b"-")[0]
            assert b"\r\nx-account-id: account-%b\r\n" % number in head
