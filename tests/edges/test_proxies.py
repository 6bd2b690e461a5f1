"""Proxies: what is sent to them, what of them is retried, and how they are found."""

from __future__ import annotations

import asyncio
import base64
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from stackone_lms import AsyncClient, RetryPolicy
from stackone_lms.errors import ConfigurationError, ConnectError, StackOneError, TLSError
from stackone_lms.transport import connections
from stackone_lms.transport.proxies import excluded, read_proxy
from tests.faults.sdk import assert_presentable
from tests.transport.server import Server, always, answer, serving, tunnelling

from .proxy import corporate, hang_up, refusal, reset, says

TRANSPORTS = pytest.mark.parametrize("transport", ["lean", "aiohttp"])
SOON = RetryPolicy(base=0.001, cap=0.001)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)  # pyright: ignore[reportUnknownMemberType]
    return context


@asynccontextmanager
async def api(ca: trustme.CA, body: bytes | None = None) -> AsyncGenerator[Server]:
    """Run the API, over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    given = answer() if body is None else answer(body, "201 Created")
    async with serving(always(given), context=context) as server:
        yield server


CREATED = b'{"statusCode":201,"message":"Created","timestamp":"2026-01-01T00:00:00.000Z","data":{"id":"n"}}'


def client(server: Server, proxy: str, trusting: ssl.SSLContext, **options: Any) -> AsyncClient:
    settings: dict[str, Any] = {"retry": SOON, "rate_limit": None, "ssl_context": trusting, "proxy": proxy, **options}
    return AsyncClient("key", "account", base_url=server.url, **settings)


@TRANSPORTS
@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "401 No", "404 Not Found"])
async def test_a_proxy_that_refuses_is_asked_once(
    transport: Any, status: str, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with api(ca) as server, corporate(refusal(status), then_tunnel=False) as proxy:
        async with client(server, proxy.url, trusting, transport=transport) as api_client:
            with pytest.raises(ConnectError) as caught:
                await api_client.users.get("x")
        assert len(proxy.heads) == caught.value.attempts == 1
    assert not caught.value.retryable
    assert f"the proxy {proxy.url} refused the connection: {status[:3]}" in str(caught.value)
    assert ("lock the account" in str(caught.value)) == status.startswith("407")


@TRANSPORTS
@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "429 Too Many"])
async def test_what_passes_at_a_proxy_is_tried_again(
    transport: Any, status: str, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """Also a write: the proxy has made no connection, so nothing was sent."""
    async with api(ca, CREATED) as server, corporate(refusal(status), refusal(status)) as proxy:
        async with client(server, proxy.url, trusting, transport=transport) as api_client:
            made = await api_client.users.completions.create("u", learning_object_external_reference="x")
        assert (made.attempts, len(server.requests)) == (3, 1)


@TRANSPORTS
@pytest.mark.parametrize(
    ("reaction", "why"),
    [
        (hang_up, "it hung up"),
        (reset, "Connection reset"),
        (says("SSH-2.0-OpenSSH_9.6\r\n\r\n"), "its answer is not valid HTTP"),
        (says("HTTP/1.1 200 OK\r\nX: " + "y" * 70_000 + "\r\n\r\n"), "longer than"),
    ],
    ids=["FIN", "RST", "garbage", "too-long"],
)
async def test_a_connect_that_is_dropped_has_sent_nothing(
    transport: Any, reaction: Any, why: str, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """So a write is repeated; and where it does not help, the message names the proxy."""
    async with api(ca, CREATED) as server:
        async with (
            corporate(reaction, reaction) as proxy,
            client(server, proxy.url, trusting, transport=transport) as api_client,
        ):
            made = await api_client.users.completions.create("u", learning_object_external_reference="x")
            assert (made.attempts, len(server.requests)) == (3, 1)
        async with (
            corporate(reaction, then_tunnel=False) as proxy,
            client(server, proxy.url.replace("//", "//me:secret@"), trusting, transport=transport) as api_client,
        ):
            with pytest.raises(ConnectError) as caught:
                await api_client.users.completions.create("u", learning_object_external_reference="x")
            assert caught.value.attempts == 3
            assert f"through the proxy {proxy.url}: " in str(caught.value)
            assert why in str(caught.value)
            assert_presentable(caught.value)
        assert len(server.requests) == 1


@TRANSPORTS
async def test_a_proxy_that_cuts_the_tunnel_before_tls_has_sent_nothing(
    transport: Any, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    established = says("HTTP/1.1 200 Connection established\r\n\r\n")
    async with api(ca, CREATED) as server, corporate(established, established) as proxy:
        async with client(server, proxy.url, trusting, transport=transport) as api_client:
            made = await api_client.users.completions.create("u", learning_object_external_reference="x")
        assert (made.attempts, len(server.requests)) == (3, 1)


@TRANSPORTS
async def test_what_is_lost_after_the_tunnel_stands_is_not_repeated(
    transport: Any, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]

    async def take_and_reset(peer: Any) -> None:
        await peer.request()
        peer.reset()

    async with serving(take_and_reset, context=context) as server, tunnelling() as proxy:
        async with client(server, proxy.url, trusting, transport=transport) as api_client:
            with pytest.raises(StackOneError) as caught:
                await api_client.users.completions.create("u", learning_object_external_reference="x")
        assert (caught.value.attempts, len(server.requests)) == (1, 1)


@TRANSPORTS
async def test_a_wrong_password_is_tried_once_by_a_whole_bulk_fetch(
    transport: Any, ca: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api(ca) as server, corporate(refusal("407 Proxy Authentication Required"), then_tunnel=False) as proxy:
        url = proxy.url.replace("//", "//me:wrong@")
        async with client(server, url, trusting, transport=transport) as api_client:
            with pytest.raises(ConnectError, match="refused the connection: 407"):
                async for _ in api_client.completions.get_many([str(n) for n in range(500)]):
                    pass
            calls = [api_client.completions.get(str(n)) for n in range(50)]
            failed = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(error) for error in failed} == {ConnectError}
            assert len(proxy.heads) == 1
            monkeypatch.setattr(connections, "_LOGIN_PAUSE", 0.0)  # as after some minutes
            with pytest.raises(ConnectError):
                await api_client.completions.get("x")
            assert len(proxy.heads) == 2


@TRANSPORTS
async def test_the_first_connection_tries_the_password_alone_and_the_others_follow(
    transport: Any, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with api(ca) as server, corporate() as proxy:
        url = proxy.url.replace("//", "//me:right@")
        async with client(server, url, trusting, transport=transport) as api_client:
            got = await asyncio.gather(*(api_client.users.get("x") for _ in range(20)))
        assert {one.data.id for one in got} == {"x"}
        first, *rest = proxy.heads
        assert first == rest[0]
        assert proxy.most_under_way > 1  # later ones at once


@TRANSPORTS
@pytest.mark.parametrize(
    ("user_info", "credentials"),
    [
        ("me:secret", b"me:secret"),
        ("J%C3%BCrgen:%E2%82%AC%2F%40%3A", "Jürgen:€/@:".encode()),
        ("Jürgen:пароль", "Jürgen:пароль".encode()),
        ("J%FCrgen:x", b"J\xfcrgen:x"),
        ("me", b"me:"),
        (":pw", b":pw"),
        ("me:p@ss:word", b"me:p@ss:word"),
    ],
)
@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_user_and_password_are_sent_as_utf_8(
    transport: Any, user_info: str, credentials: bytes, scheme: str, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    expected = b"Basic " + base64.b64encode(credentials)
    if scheme == "http":  # the proxy gets the request itself
        async with serving(always(answer())) as proxy:
            url = f"http://{user_info}@127.0.0.1:{proxy.port}"
            async with AsyncClient("key", "a", base_url="http://localhost:1", proxy=url, transport=transport) as one:
                await one.users.get("x")
            assert proxy.requests[0].header("proxy-authorization") == expected.decode()
        return
    async with api(ca) as server, tunnelling() as tunnel:
        url = tunnel.url.replace("//", f"//{user_info}@")
        async with client(server, url, trusting, transport=transport) as api_client:
            await api_client.users.get("x")
        assert b"\r\nProxy-Authorization: " + expected + b"\r\n" in tunnel.heads[0]
        assert server.requests[0].header("proxy-authorization") is None


def test_bytes_of_the_environment_that_are_no_utf_8_are_sent_as_they_are() -> None:
    proxy = read_proxy(b"http://J\xfcrgen:x@proxy".decode("utf-8", "surrogateescape"), "HTTPS_PROXY")
    assert proxy.authorization == "Basic " + base64.b64encode(b"J\xfcrgen:x").decode()


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("proxy.corp:3128", "http://proxy.corp:3128"),
        ("proxy.corp", "http://proxy.corp"),
        ("me:secret@proxy.corp:3128", "http://proxy.corp:3128"),
        ("me:secret@proxy.corp:3128/", "http://proxy.corp:3128"),
        (" http://proxy.corp:3128/path?x=1 ", "http://proxy.corp:3128"),
        ("HTTPS://Proxy.Corp", "https://proxy.corp"),
        ("[::1]:3128", "http://[::1]:3128"),
        ("10.0.0.1:8080", "http://10.0.0.1:8080"),
    ],
)
def test_a_proxy_without_a_scheme_is_http(text: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_proxy(text, "proxy").url == url
    monkeypatch.setenv("HTTPS_PROXY", text)
    AsyncClient("key", "a")


@pytest.mark.parametrize("text", ["http://me:p/ss@proxy:1", "http://me:p#ss@proxy:1", "http://a b", "http://h:99999"])
def test_a_proxy_that_cannot_be_read_is_an_error_that_does_not_show_it(text: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        AsyncClient("key", "a", proxy=text)
    assert "ss@" not in str(caught.value)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY"])
@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
def test_a_socks_proxy_says_what_to_do(variable: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, f"{scheme}://me:secret@127.0.0.1:1080")
    with pytest.raises(ConfigurationError) as caught:
        AsyncClient("key", "a")
    message = str(caught.value)
    assert message.startswith(f"{variable.upper()}: SOCKS proxies are not supported")
    assert all(way in message for way in ("HTTPS_PROXY", "proxy=", "NO_PROXY", "session="))
    assert "secret" not in message
    # Each of the ways that the message names is one.
    AsyncClient("key", "a", proxy="http://proxy:3128")
    with monkeypatch.context() as others:
        others.setenv("NO_PROXY", "stackone.com")
        AsyncClient("key", "a")
    if variable != "HTTPS_PROXY":
        with monkeypatch.context() as others:
            others.setenv("HTTPS_PROXY", "http://proxy:3128")
            AsyncClient("key", "a")
    AsyncClient("key", "a", base_url="http://localhost:1")


async def test_a_session_may_speak_socks_where_the_environment_names_such_a_proxy(
    monkeypatch: pytest.MonkeyPatch, ca: trustme.CA, trusting: ssl.SSLContext
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    connector = aiohttp.TCPConnector(ssl=trusting)
    async with (
        api(ca) as server,
        aiohttp.ClientSession(connector=connector) as session,
        AsyncClient("key", "a", base_url=server.url, session=session) as one,
    ):
        assert (await one.users.get("x")).data.id == "x"


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "listed"),
    [
        ("api.example.com:443", "api.example.com", 443, True),
        ("api.example.com:8443", "api.example.com", 443, False),
        ("example.com:443", "api.example.com", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.2.3/8", "10.9.9.9", 443, True),
        ("192.168.0.0/16,10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "api.example.com", 443, False),
        ("10.0.0.0/33", "10.0.0.1", 443, False),
        ("*", "api.example.com", 443, True),
        ("other, *", "10.1.2.3", 443, True),
        (".example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("EXAMPLE.com", "api.Example.COM.", 443, True),
        ("example.com.", "api.example.com", 443, True),
        ("a, b,,example.com", "example.com", 443, True),
        ("a b\texample.com", "example.com", 443, True),
        ("::1", "::1", 443, True),
        ("::1", "::2", 443, False),
        ("2001:db8:0:0::1", "2001:db8::1", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]:443", "::1", 443, True),
        ("[::1]:444", "::1", 443, False),
        ("2001:db8::/32", "2001:db8::5", 443, True),
        ("10.0.0.1", "::ffff:10.0.0.1", 443, True),
        ("10.0.0.1:443", "10.0.0.1", 443, True),
        ("0.0.1", "10.0.0.1", 443, False),
        ("", "example.com", 443, False),
        (".", "example.com", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert excluded(no_proxy, host, port) is listed


@TRANSPORTS
async def test_the_environments_proxy_is_used_unless_no_proxy_lists_the_server(
    transport: Any, ca: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api(ca) as server, tunnelling() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removeprefix("http://"))
        for no_proxy, expected in (("", 1), (f"localhost:{server.port}", 1), ("localhost:1", 2)):
            monkeypatch.setenv("NO_PROXY", no_proxy)
            async with AsyncClient("key", "a", base_url=server.url, ssl_context=trusting, transport=transport) as one:
                await one.users.get("x")
            assert len(proxy.heads) == expected


@TRANSPORTS
async def test_a_proxy_over_tls(transport: Any, ca: trustme.CA, trusting: ssl.SSLContext) -> None:
    """TLS in TLS; the proxy's certificate is checked, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    async with api(ca) as server, tunnelling(context=context) as proxy:
        url = proxy.url.replace("http://127.0.0.1", "https://me:secret@localhost")
        async with client(server, url, trusting, transport=transport) as one:
            assert (await one.users.get("x")).data.id == "x"
        assert len(proxy.heads) == 1
        async with client(server, url, ssl.create_default_context(), transport=transport) as one:
            with pytest.raises(TLSError):
                await one.users.get("x")
        assert len(proxy.heads) == 1


@pytest.fixture(params=["tinyproxy", "squid"])
async def real_proxy(request: pytest.FixtureRequest) -> AsyncGenerator[str]:
    """Run a proxy of others, which wants a password."""
    name: str = request.param
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip(f"there is no {name} here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp())  # not of pytest: started as root, squid becomes somebody who may not enter there
    folder.chmod(0o777)
    config = folder / "proxy.conf"
    if name == "tinyproxy":
        config.write_text(
            f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nBasicAuth me secret\nAllow 127.0.0.1\n"
        )
        command = [program, "-d", "-c", str(config)]
    else:
        checker = folder / "check"
        checker.write_text('#!/bin/sh\nwhile read -r who; do [ "$who" = "me secret" ] && echo OK || echo ERR; done\n')
        checker.chmod(0o755)
        config.write_text(
            f"http_port 127.0.0.1:{port}\npid_filename none\ncache deny all\naccess_log none\n"
            f"cache_log {folder}/log\ncoredump_dir {folder}\nshutdown_lifetime 0 seconds\n"
            f"auth_param basic program {checker}\nauth_param basic children 1\nacl known proxy_auth REQUIRED\n"
            "http_access allow known\nhttp_access deny all\n"
        )
        command = [program, "-N", "-f", str(config)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while process.returncode is None:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        if process.returncode is not None:
            pytest.skip(f"{name} does not start here")
        yield f"127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(folder)


@TRANSPORTS
async def test_a_proxy_of_others(real_proxy: str, transport: Any, ca: trustme.CA, trusting: ssl.SSLContext) -> None:
    async with api(ca, CREATED) as server:
        async with client(server, f"me:secret@{real_proxy}", trusting, transport=transport) as one:
            for _ in range(3):
                await one.users.completions.create("u", learning_object_external_reference="x")
        assert [len(peer.requests) for peer in server.peers] == [3]
        async with client(server, f"me:wrong@{real_proxy}", trusting, transport=transport) as one:
            with pytest.raises(ConnectError, match=r"40[137]") as caught:
                await one.users.completions.create("u", learning_object_external_reference="x")
            assert caught.value.attempts == 1
        assert len(server.requests) == 3
    dead = server.url
    async with AsyncClient(
        "key", "a", base_url=dead, proxy=f"me:secret@{real_proxy}", transport=transport, retry=SOON
    ) as one:
        with pytest.raises(ConnectError) as caught:
            await one.users.completions.create("u", learning_object_external_reference="x")
    assert caught.value.attempts == 3  # nothing was sent: the proxy says 500 or 503
    assert real_proxy in str(caught.value)
