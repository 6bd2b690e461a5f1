"""Whose certificates are trusted, and what is said where they are not."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from stackone_lms import AsyncClient, RetryPolicy
from stackone_lms.errors import ConfigurationError, TLSError
from stackone_lms.transport.aiohttp import make_ssl_context
from tests.faults.children import run
from tests.transport.server import Server, always, answer, serving, tunnelling

TRANSPORTS = pytest.mark.parametrize("transport", ["lean", "aiohttp"])


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pem(ca: trustme.CA, tmp_path: Path) -> Path:
    """Return the file of the CA, in a folder made as OpenSSL wants it."""
    path = tmp_path / "cas" / "ca.pem"
    path.parent.mkdir()
    ca.cert_pem.write_to_path(path)
    return path


def hashed(pem: Path) -> Path:
    """Link a file by the hash of its subject, as `openssl rehash` does."""
    import subprocess

    asked = ["openssl", "x509", "-hash", "-noout", "-in", str(pem)]
    try:
        name = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no openssl here")
    (pem.parent / f"{name}.0").symlink_to(pem)
    return pem.parent


@asynccontextmanager
async def api(ca: trustme.CA) -> AsyncGenerator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    async with serving(always(answer()), context=context) as server:
        yield server


async def ask(server: Server, transport: Any, **options: Any) -> str | None:
    """Return the message of the error, None if it works."""
    one = AsyncClient("key", "a", base_url=server.url, transport=transport, retry=RetryPolicy(attempts=1), **options)
    async with one as client:
        try:
            await client.users.get("x")
        except TLSError as error:
            return str(error)
    return None


@TRANSPORTS
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "REQUESTS_CA_BUNDLE/"])
async def test_variables_of_the_environment_are_honoured(
    transport: Any, variable: str, ca: trustme.CA, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api(ca) as server:
        assert await ask(server, transport) is not None
        folder = variable.endswith(("DIR", "/"))
        value = str(hashed(pem)) if folder else str(pem)
        monkeypatch.setenv(variable.strip("/"), value)
        assert await ask(server, transport) is None
        if variable == "SSL_CERT_DIR":
            monkeypatch.setenv(variable, f"/nowhere:{value}")
            assert await ask(server, transport) is None


def test_they_take_the_place_of_the_systems(pem: Path) -> None:
    assert len(make_ssl_context(None, None, [str(pem)]).get_ca_certs()) == 1


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_variable_that_names_nothing_is_an_error(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/nowhere/ca.pem")
    with pytest.raises(ConfigurationError, match=f"{variable}: there is no '/nowhere/ca.pem'"):
        AsyncClient("key", "a")
    AsyncClient("key", "a", base_url="http://localhost:1")
    AsyncClient("key", "a", ssl_context=ssl.create_default_context())


@TRANSPORTS
async def test_a_file_that_holds_no_certificate_is_an_error(
    transport: Any, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    monkeypatch.setenv("SSL_CERT_FILE", str(empty))
    async with api(ca) as server:
        with pytest.raises(ConfigurationError, match="SSL_CERT_FILE"):
            await ask(server, transport)


def test_truststore_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch, pem: Path) -> None:
    truststore = pytest.importorskip("truststore")
    assert isinstance(make_ssl_context(None, None), truststore.SSLContext)
    assert isinstance(make_ssl_context(str(pem), None), truststore.SSLContext)
    monkeypatch.setitem(sys.modules, "truststore", None)
    assert type(make_ssl_context(None, None)) is ssl.SSLContext


@TRANSPORTS
async def test_a_bundle_counts_besides_truststore(transport: Any, ca: trustme.CA, pem: Path) -> None:
    async with api(ca) as server:
        assert await ask(server, transport, ca_bundle=pem) is None


@TRANSPORTS
async def test_the_message_names_a_way_that_is_there(transport: Any, ca: trustme.CA) -> None:
    async with api(ca) as server:
        plain = await ask(server, transport)
        assert plain is not None
        assert plain.endswith("if it uses a private CA, pass ca_bundle= or set SSL_CERT_FILE")
        own = await ask(server, transport, ssl_context=ssl.create_default_context())
        assert own is not None
        assert own.endswith("load it into the ssl_context")
        async with aiohttp.ClientSession() as session:
            other = await ask(server, "auto", session=session)
        assert other is not None
        assert other.endswith("load it into the SSL context of the session's connector")


CLI = "import sys; from stackone_lms.cli import main; sys.exit(main())"


@pytest.mark.thorough
async def test_the_program_takes_a_bundle_and_a_proxy_and_says_so(ca: trustme.CA, pem: Path) -> None:
    async with api(ca) as server, tunnelling() as proxy:
        asked = ["get", "users", "x", "--api-key", "k", "--account", "a", "--base-url", server.url]
        refused = await run(CLI, *asked, within=60)
        assert refused.code == 1
        assert "name that with --ca-bundle or SSL_CERT_FILE" in " ".join(refused.err.split())
        assert "ca_bundle=" not in refused.err
        given = await run(CLI, *asked, "--ca-bundle", str(pem), "--https-proxy", proxy.url, within=60)
        assert (given.code, given.err) == (0, "")
        assert len(proxy.heads) == 1
