"""`client.check()`: what is found out on the way from a key to a first record."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, assert_type

import pytest

from stackone_lms import AsyncClient, CheckReport, SyncClient
from stackone_lms.sandbox import Sandbox
from stackone_lms.transport.base import Request, Response, Transport
from stackone_lms.transport.probe import issuer_of

from .certificates import TLS, ca_pem, server_context

KEY = "v1.secret.key-that-is-nowhere"
ISSUER = "trustme"


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    with Sandbox.in_thread(users=3, courses=1, contents=1, assignments=1, completions=1) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ACCOUNT_ID", "BASE_URL", "TIMEOUT", "MAX_RETRIES", "REQUESTS_PER_MINUTE"):
        monkeypatch.delenv(f"STACKONE_{name}", raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def lines(report: CheckReport) -> dict[str, tuple[str, str]]:
    return {check.name: (check.status, check.message) for check in report.checks}


class Canned(Transport):
    """Answers by the last part of the path, and knows what was asked."""

    def __init__(self, **answers: tuple[Any, ...]) -> None:
        self.answers, self.asked = answers, list[str]()

    async def send(self, request: Request, limits: Any) -> Response:
        self.asked.append(request.path)
        status, value, *headers = self.answers[request.path.rpartition("/")[2]]
        return Response(
            status, headers[0] if headers else {}, value if isinstance(value, bytes) else json.dumps(value).encode()
        )


async def check(sandbox: Sandbox, **options: Any) -> CheckReport:
    given: dict[str, Any] = {
        "api_key": sandbox.api_key,
        "account_id": sandbox.account_ids[0],
        "base_url": sandbox.url,
        **options,
    }
    async with AsyncClient(**given) as client:
        return await client.check()


async def test_all_is_well(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is ok, and nothing in it is secret."""
    monkeypatch.setenv("STACKONE_MAX_RETRIES", "6")
    report = await check(sandbox)
    assert report.ok
    found = lines(report)
    assert list(found) == [
        *("versions", "configuration", "limits", "proxy", "name resolution", "TLS", "API key", "account", "users"),
        "transport",
    ]
    assert {status for status, _ in found.values()} == {"ok"}
    assert "API key (from argument)" in found["configuration"][1]
    assert "7 attempts (from STACKONE_MAX_RETRIES)" in found["limits"][1]
    assert found["API key"][1] == "accepted; it has 5 accounts, 3 of them active"
    assert found["transport"][1] == "lean"
    text = json.dumps(report.to_dict())
    assert sandbox.api_key not in text
    assert json.loads(text)["ok"] is True


def test_from_code_without_asyncio(sandbox: Sandbox) -> None:
    with SyncClient(sandbox.api_key, sandbox.account_ids[1], base_url=sandbox.url) as client:
        report = client.check()
        assert_type(report, CheckReport)
        assert report.ok
        other = client.with_options(account_id=sandbox.account_ids[0]).check()
    assert f"account {sandbox.account_ids[0]} (from with_options)" in lines(other)["configuration"][1]


async def test_a_key_that_is_not_accepted(sandbox: Sandbox) -> None:
    report = await check(sandbox, api_key=KEY)
    assert not report.ok
    (failure,) = report.failures
    assert failure.name == "API key"
    assert failure.fix == "check the key: it is not accepted"
    assert "users" not in lines(report)
    assert KEY not in json.dumps(report.to_dict())


async def test_without_an_account_those_that_serve_are_named(sandbox: Sandbox) -> None:
    report = await check(sandbox, account_id=None)
    assert report.ok
    (warning,) = [check for check in report.checks if check.status == "warning"]
    assert warning.name == "account"
    assert all(id in (warning.fix or "") for id in sandbox.account_ids)
    assert sandbox.inactive_account_id not in (warning.fix or "")


async def test_accounts_that_do_not_serve(sandbox: Sandbox) -> None:
    report = await check(sandbox, account_id=sandbox.inactive_account_id)
    assert lines(report)["account"][0] == "failure"
    assert "is inactive; The account was switched off." in lines(report)["account"][1]
    report = await check(sandbox, account_id="no-such-account")
    (failure,) = report.failures
    assert failure.message == "the key has no account no-such-account"
    assert sandbox.account_ids[0] in (failure.fix or "")


async def test_nobody_there() -> None:
    async with AsyncClient(KEY, "1", base_url="https://no-such-host.invalid") as client:
        report = await client.check()
    assert report.failures[0].name == "name resolution"
    assert "API key" not in lines(report)


async def test_each_call_is_sent_once() -> None:
    """A doctor that tries again and again takes minutes to say what is wrong."""
    transport = Canned(accounts=(503, {"message": "down"}))
    async with AsyncClient(KEY, "1", transport=transport) as client:
        report = await client.check()
    assert transport.asked == ["/accounts"]
    assert report.failures[0].name == "API key"
    assert lines(report)["network"][1].startswith("not looked at")
    assert lines(report)["transport"][1] == "one that the application gave"


NO_USERS: dict[str, list[str]] = {"data": []}
ACTIVE = {"id": "7", "status": "active"}
NOTHING: dict[str, str] = {}
NO_ACCOUNTS: list[str] = []


@pytest.mark.parametrize(
    ("answers", "name", "status"),
    [
        ({"accounts": (403, NOTHING), "7": (403, NOTHING), "users": (200, NO_USERS)}, "API key", "warning"),
        ({"accounts": (403, NOTHING), "7": (403, NOTHING), "users": (200, NO_USERS)}, "account", "warning"),
        (
            {"accounts": (200, NO_ACCOUNTS), "7": (200, ACTIVE), "users": (501, NOTHING)},
            "users",
            "warning",
        ),
        (
            {"accounts": (200, NO_ACCOUNTS), "7": (200, ACTIVE), "users": (403, NOTHING)},
            "users",
            "failure",
        ),
    ],
)
async def test_what_a_key_may_not_do(answers: dict[str, Any], name: str, status: str) -> None:
    async with AsyncClient(KEY, "7", transport=Canned(**answers)) as client:
        report = await client.check()
    assert lines(report)[name][0] == status
    assert report.ok == (status != "failure")


PAGE = b"<html><head><title>x</title></head><body><h1>Access &amp; more denied</h1></body></html>"


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ({"accounts": (403, PAGE)}, "API key"),
        ({"accounts": (200, NO_ACCOUNTS), "7": (403, PAGE)}, "account"),
        ({"accounts": (200, NO_ACCOUNTS), "7": (200, ACTIVE), "users": (403, PAGE)}, "users"),
    ],
)
async def test_a_page_of_a_gateway_is_not_blamed_on_the_key(answers: dict[str, Any], name: str) -> None:
    async with AsyncClient(KEY, "7", transport=Canned(**answers)) as client:
        (failure,) = (await client.check()).failures
    assert failure.name == name
    assert failure.message.endswith("403 Forbidden; what answered says: Access & more denied")
    assert failure.fix is not None
    assert failure.fix.startswith("this is no answer of the API")


async def test_headers_of_a_rate_limit_are_shown() -> None:
    account = (200, ACTIVE)
    users = (200, NO_USERS, {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "7"})
    answers: dict[str, Any] = {"accounts": (200, NO_ACCOUNTS), "7": account, "users": users}
    async with AsyncClient(KEY, "7", transport=Canned(**answers)) as client:
        report = await client.check()
    assert lines(report)["rate limit"] == ("ok", "x-ratelimit-limit: 1000, x-ratelimit-remaining: 7")


class Silent(Transport):
    """Never answers."""

    async def send(self, request: Request, limits: Any) -> Response:
        await asyncio.get_running_loop().create_future()
        raise AssertionError


async def test_a_call_has_no_longer_than_the_clients_own_time_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "stackone_lms")
    async with AsyncClient(KEY, transport=Silent(), timeout=0.05) as client:
        (failure,) = (await client.check()).failures
    assert failure.message.startswith("APITimeoutError")
    assert "attempt 1: timeout (total)" in caplog.text


# TLS and proxies


@asynccontextmanager
async def tls_server(kind: TLS) -> AsyncGenerator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(kind))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def proxy(status: str, heads: list[str]) -> AsyncGenerator[int]:
    """A proxy that connects to where it is asked, or refuses."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        heads.append(head)
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200"):
            writer.close()
            return
        other = await asyncio.open_connection("127.0.0.1", int(head.split()[1].rpartition(":")[2]))
        await asyncio.gather(pump(reader, other[1]), pump(other[0], writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextmanager
def bundle(folder: Path) -> Generator[Path]:
    path = folder / "ca.pem"
    path.write_text(ca_pem())
    yield path


async def test_who_signed_the_certificate(tmp_path: Path) -> None:
    with bundle(tmp_path) as ca:
        async with (
            tls_server("good") as port,
            AsyncClient(KEY, "1", base_url=f"https://localhost:{port}", ca_bundle=ca) as client,
        ):
            report = await client.check()
    status, message = lines(report)["TLS"]
    assert status == "ok"
    assert ISSUER in message
    assert message.startswith("TLSv1.3")
    assert report.failures[0].name == "API key"


@pytest.mark.parametrize("kind", ["unknown-ca", "self-signed", "expired", "wrong-host"])
async def test_a_certificate_that_is_not_trusted_is_named(kind: TLS, tmp_path: Path) -> None:
    with bundle(tmp_path) as ca:
        async with (
            tls_server(kind) as port,
            AsyncClient(KEY, "1", base_url=f"https://localhost:{port}", ca_bundle=ca) as client,
        ):
            (failure,) = (await client.check()).failures
    assert failure.name == "TLS"
    assert ISSUER in failure.message
    assert "ca_bundle" in (failure.fix or "")


async def test_through_a_proxy(tmp_path: Path) -> None:
    heads: list[str] = []
    with bundle(tmp_path) as ca:
        async with tls_server("good") as port, proxy("200 OK", heads) as proxy_port:
            through = f"http://user:s3cret-word@127.0.0.1:{proxy_port}"
            options: dict[str, Any] = {"base_url": f"https://localhost:{port}", "ca_bundle": ca, "proxy": through}
            async with AsyncClient(KEY, "1", **options) as client:
                report = await client.check()
    assert heads[0].startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in heads[0]
    assert KEY not in "".join(heads)
    found = lines(report)
    assert found["proxy"][1] == f"http://127.0.0.1:{proxy_port} with a password (from argument)"
    assert found["name resolution"][1] == "127.0.0.1: 127.0.0.1"
    assert ISSUER in found["TLS"][1]
    assert "s3cret" not in str(report)


async def test_a_proxy_that_refuses() -> None:
    async with (
        proxy("407 Proxy Authentication Required", []) as proxy_port,
        AsyncClient(KEY, "1", base_url="https://a.example", proxy=f"http://127.0.0.1:{proxy_port}") as client,
    ):
        (failure,) = (await client.check()).failures
    assert failure.name == "TLS"
    assert "the proxy refused the connection: HTTP/1.1 407" in failure.message


async def test_a_port_that_speaks_no_tls(sandbox: Sandbox) -> None:
    async with AsyncClient(KEY, "1", base_url=sandbox.url.replace("http:", "https:")) as client:
        (failure,) = (await client.check()).failures
    assert failure.name == "TLS"
    assert failure.fix == "what answers there may speak plain http: check the URL and its port"


@pytest.mark.parametrize("broken", [b"", b"\x30", b"\x30\x82\x01", b"nonsense", bytes(range(64))])
def test_a_certificate_that_cannot_be_read_names_nobody(broken: bytes) -> None:
    assert issuer_of(broken) == "somebody whose name cannot be read"


def test_the_issuer_is_that_which_python_reads(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text(ca_pem())
    context = ssl.create_default_context(cafile=str(path))
    told = next(one for one in context.get_ca_certs() if ISSUER in str(one))
    der = context.get_ca_certs(binary_form=True)[context.get_ca_certs().index(told)]
    issuer: Any = told["issuer"]
    names = {key: value for part in issuer for key, value in part}
    assert names["organizationName"] in issuer_of(der)
