"""What a client is constructed with; nothing here does I/O."""

from __future__ import annotations

import asyncio
import base64
import copy
import pickle
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient, SyncClient, Timeout, __version__
from stackone_lms.base_client import bound_executor_of
from stackone_lms.configuration import check_base_url, check_user_agent, is_loopback, redactor
from stackone_lms.errors import ConfigurationError, InvalidArgumentError
from stackone_lms.network import choose_proxy
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, record, virtual


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STACKONE_API_KEY", "STACKONE_ACCOUNT_ID", "STACKONE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def client(**options: Any) -> AsyncClient:
    given: dict[str, Any] = {"api_key": KEY, "account_id": ACCOUNT, **options}
    return AsyncClient(**given)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.stackone.com",
        "https://api.stackone.com/",
        "https://api.eu1.stackone.com:8443/prefix",
        "HTTPS://API.STACKONE.COM",
        "http://localhost:8080",
        "http://sandbox.localhost",
        "http://127.0.0.1:1",
        "http://127.1.2.3",
        "http://[::1]:8080/x/",
    ],
)
def test_https_anywhere_and_http_on_this_machine(url: str) -> None:
    assert client(base_url=url).base_url.lower() == url.lower().rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.stackone.com",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil.example#localhost",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://2130706433",
        "http://0x7f000001",
        "https://user@api.stackone.com",
        "https://user:pw@api.stackone.com",
        "https://@api.stackone.com",
        "https://api.stackone.com?x=1",
        "https://api.stackone.com?",
        "https://api.stackone.com#x",
        "https://api.stackone.com#",
        "https://api.stackone.com/../x",
        "https://api.stackone.com/.",
        "https://api.stackone.com\\@evil.example",
        "ftp://api.stackone.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "api.stackone.com",
        "//api.stackone.com",
        "https://",
        "https:///x",
        "https://:443",
        "https://[::1",
        "https://[zz]",
        "https://api.stackone.com:99999",
        "https://api.stackone.com:port",
        "https://api.stackone.com:-1",
        "https://api.stackone.com\r\nHost: evil",
        "https://api.stackone.com/a b",
        " https://api.stackone.com",
        "https://api.stackone.com\x00",
        "https://\u0430pi.stackone.com",
        5,
        b"https://api.stackone.com",
    ],
)
def test_any_other_base_url_is_refused_at_construction(url: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client(base_url=url)
    assert str(caught.value).isprintable()
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.255.255.254", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "localhost.", "xlocalhost", "128.0.0.1", "::", "::2", "1", "127.1"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


BAD_TOKENS: list[Any] = [
    "",
    " ",
    " s3cr",
    "s3cr ",
    "a s3cr",
    "s3cr\n",
    "s3cr\r\nX-Evil: 1",
    "s3cr\x00",
    "s3cr\x7f",
    "kéy",
    "\u30ad\u30fc",
    "\ud800",
    5,
    b"s3cr",
    ["s3cr"],
]


@pytest.mark.parametrize("token", BAD_TOKENS, ids=lambda token: repr(token)[:20])
def test_keys_and_account_ids_that_cannot_be_headers_are_refused_and_not_shown(token: Any) -> None:
    calls: list[tuple[type[Exception], Callable[[], object]]] = [
        (ConfigurationError, lambda: client(api_key=token)),
        (ConfigurationError, lambda: client(account_id=token)),
        (InvalidArgumentError, lambda: client().with_options(account_id=token)),
    ]
    for kind, call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert "s3cr" not in str(caught.value)


def test_a_key_with_a_colon_cannot_be_a_user_name() -> None:
    with pytest.raises(ConfigurationError, match="colon") as caught:
        client(api_key="v1:secret")
    assert "secret" not in str(caught.value)


def test_without_a_key_there_is_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="pass api_key= or set STACKONE_API_KEY"):
        AsyncClient()
    monkeypatch.setenv("STACKONE_API_KEY", "")
    with pytest.raises(ConfigurationError, match="STACKONE_API_KEY"):
        AsyncClient()
    monkeypatch.setenv("STACKONE_API_KEY", "bad key")
    with pytest.raises(ConfigurationError, match="white space"):
        AsyncClient()


@virtual
async def test_what_is_not_given_comes_from_the_environment() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STACKONE_API_KEY", "k-env")
        patch.setenv("STACKONE_ACCOUNT_ID", "a-env")
        patch.setenv("STACKONE_BASE_URL", "https://env.example/p")
        transport = FakeTransport(record())
        implicit, explicit = (
            AsyncClient(transport=transport),
            AsyncClient("k-arg", "a-arg", base_url="https://arg.example", transport=transport),
        )
    await implicit.completions.get("c1")
    await explicit.completions.get("c1")
    assert [sent.headers["x-account-id"] for sent in transport.sent] == ["a-env", "a-arg"]
    users = [base64.b64decode(sent.headers["Authorization"].removeprefix("Basic ")) for sent in transport.sent]
    assert users == [b"k-env:", b"k-arg:"]
    assert [sent.path for sent in transport.sent] == ["/p/unified/lms/completions/c1", "/unified/lms/completions/c1"]
    assert (implicit.base_url, explicit.base_url) == ("https://env.example/p", "https://arg.example")


@virtual
async def test_a_client_without_an_account_says_so_at_the_call() -> None:
    transport = FakeTransport(record())
    without = AsyncClient(KEY, transport=transport)
    with pytest.raises(ConfigurationError, match="no account id"):
        await without.completions.get("c1")
    assert transport.sent == []
    assert (await without.with_options(account_id="other").completions.get("c1")).data.id == "c1"


@pytest.mark.parametrize(
    ("environment", "base_url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://api.stackone.com", "http://proxy:3128"),
        ({"https_proxy": "https://proxy"}, "https://api.stackone.com", "https://proxy"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://localhost:8080", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "https://api.stackone.com", None),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://localhost:8080", None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "stackone.com"}, "https://api.stackone.com", None),
        ({"HTTPS_PROXY": "http://proxy", "NO_PROXY": "*"}, "https://api.stackone.com", None),
        ({"HTTPS_PROXY": "http://proxy", "no_proxy": "other.com"}, "https://api.stackone.com", "http://proxy"),
        ({"HTTPS_PROXY": ""}, "https://api.stackone.com", None),
        ({}, "https://api.stackone.com", None),
    ],
)
def test_the_environments_proxy_counts_for_https_only(
    environment: dict[str, str], base_url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = choose_proxy(None, check_base_url(base_url))
    assert (None if found is None else found.url) == proxy


def test_an_explicit_proxy_counts_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://env")
    monkeypatch.setenv("NO_PROXY", "*")
    for base_url in ("https://api.stackone.com", "http://localhost"):
        found = choose_proxy("http://user:pw@arg:1", check_base_url(base_url))
        assert found is not None
        assert (found.url, str(found.authorization)) == ("http://arg:1", "Basic dXNlcjpwdw==")


@pytest.mark.parametrize(
    "proxy", ["", "proxy:x", "ftp://proxy", "socks5://proxy", "http://", "http://h:x", "http://[", 5, b"http://h"]
)
def test_a_proxy_that_is_no_http_url_is_refused(proxy: Any) -> None:
    with pytest.raises(ConfigurationError, match="proxy"):
        client(proxy=proxy)


def test_the_user_agent_names_the_package_and_comes_after_the_callers() -> None:
    own = check_user_agent(None)
    assert own.startswith(f"stackone-lms-python/{__version__} (Python/3.")
    assert "aiohttp/" in own
    assert check_user_agent(" my-app/1.0 ") == f"my-app/1.0 {own}"


def test_only_the_first_client_looks_for_the_version_of_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in a file of the installation, which takes a millisecond to find and to read."""
    client()

    def refuse(name: str) -> str:
        raise AssertionError(f"the version of {name} is looked for again")

    monkeypatch.setattr("importlib.metadata.version", refuse)
    monkeypatch.setattr("importlib.metadata.distribution", refuse)
    client()


@pytest.mark.parametrize("user_agent", ["", "  ", "a\r\nX: y", "caf\xe9", "a\x00", 5, b"a"])
def test_a_user_agent_that_cannot_be_a_header_is_refused(user_agent: Any) -> None:
    with pytest.raises(ConfigurationError, match="user_agent"):
        client(user_agent=user_agent)


def test_files_have_to_exist(tmp_path: Path) -> None:
    missing, there = tmp_path / "missing.pem", tmp_path / "there.pem"
    there.write_text("no PEM")
    for wrong in ({"ca_bundle": missing}, {"ca_bundle": tmp_path}, {"client_cert": str(missing)}):
        with pytest.raises(ConfigurationError, match="there is no file"):
            client(**wrong)
    with pytest.raises(ConfigurationError, match="there is no file"):
        client(client_cert=(there, missing))
    client(ca_bundle=there, client_cert=(there, str(there)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"ca_bundle": 5},
        {"ca_bundle": b"x"},
        {"client_cert": 5},
        {"client_cert": ()},
        {"client_cert": ("a", "b", "c")},
        {"client_cert": (None, None)},
        {"ssl_context": False},
        {"ssl_context": True},
        {"timeout": "30"},
        {"timeout": None},
        {"retry": "3"},
        {"retry": None},
        {"rate_limit": "1000"},
        {"max_concurrency": 0},
        {"max_concurrency": True},
        {"max_concurrency": 1.5},
        {"max_body": 0},
        {"max_body": "1"},
        {"heartbeat": 1},
        {"keep_unknown": None},
        {"transport": 5},
    ],
    ids=str,
)
def test_values_of_the_wrong_type_are_refused_at_construction(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong)).removeprefix("the ")):
        client(**wrong)


def test_an_ssl_context_excludes_files(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    with pytest.raises(ConfigurationError, match="excludes"):
        client(ssl_context=ssl.create_default_context(), ca_bundle=bundle)


def test_a_file_that_is_no_certificate_is_an_error_of_the_package(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("not a certificate")

    async def call() -> None:
        async with client(ca_bundle=bundle, base_url="https://localhost:1") as broken:
            await broken.completions.get("c1")

    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        asyncio.run(call())


@pytest.fixture(params=[AsyncClient, SyncClient])
def made(request: pytest.FixtureRequest) -> Any:
    return request.param(KEY, ACCOUNT, proxy="http://user:pw@proxy")


def test_no_secret_is_in_the_repr_of_a_client_or_what_it_holds(made: Any) -> None:
    view = made.with_options(account_id="acct-other-9", timeout=Timeout(total=1))
    secrets = [KEY, base64.b64encode(f"{KEY}:".encode()).decode(), "pw@"]
    for one in (made, view):
        executor = bound_executor_of(one)
        inside: dict[str, Any] = {**vars(one), **vars(executor), **vars(executor.engine)}
        held: list[Any] = [one, *inside.values()]
        shown = [repr(value) for value in held] + [str(value) for value in held]
        shown += [repr(dict(executor.settings.headers)), repr(one.completions), repr(one.completions.get)]
        assert not [text for text in shown for secret in secrets if secret in text]
    assert repr(made).endswith("(base_url='https://api.stackone.com', api_key=***, account_id='acct-secret-1')")


def test_a_client_cannot_be_copied_or_pickled(made: Any) -> None:
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled; make one in each process"):
            way(made)


def test_the_key_is_taken_out_of_what_a_server_echoes() -> None:
    basic = base64.b64encode(f"{KEY}:".encode())
    assert redactor(KEY)(b"%b 412 %b" % (KEY.encode(), basic)).rstrip(b"=") == b"*** 412 ***"
