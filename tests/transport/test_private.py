"""The lean transport is used only with an aiohttp that it knows, and with both of its parsers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector

from stackone_lms.errors import ConfigurationError
from stackone_lms.transport import aiohttp_internals as private
from stackone_lms.transport import session
from stackone_lms.transport.aiohttp import AiohttpTransport
from stackone_lms.transport.lean import LeanTransport

from .conftest import send
from .server import BODY, Peer, answer, serving


def test_installed_aiohttp_can_be_used() -> None:
    assert private.check() is None


@pytest.mark.parametrize("version", ["3.14.3", "3.13.5", "3.15.0", "3.15.0a1", "4.0.0a2.dev0"])
def test_other_version_is_named_in_the_reason(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    reason = private.check()
    assert reason is not None
    assert version in reason


@pytest.mark.parametrize("version", ["3.14.4", "3.14.5", "3.14.17", "3.14.6.dev0"])
def test_versions_of_the_same_series_are_fine(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(aiohttp, "__version__", version)
    assert private.check() is None


def _other(*_: object) -> None:
    """Stands for a function that has become another one."""


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (BaseConnector, "connect", "_other"),
        (BaseConnector, "_release", "_other"),
        (ResponseHandler, "set_response_params", "_other"),
        (aiohttp.TCPConnector, "_create_direct_connection", "_factory"),
        (private.Protocol, "_take", "a parser"),
    ],
)
def test_changed_aiohttp_is_noticed(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, told: str) -> None:
    monkeypatch.setattr(owner, name, _other)
    reason = private.check()
    assert reason is not None
    assert told in reason


@pytest.mark.parametrize("name", ["_EMPTY", "_WITHOUT_BODY"])
def test_a_name_that_aiohttp_has_no_more_is_noticed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(private, name, None)
    assert "lacks" in (private.check() or "")


def test_lean_transport_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "UNUSABLE", "aiohttp 9 is not known")
    with pytest.raises(ConfigurationError, match="aiohttp 9 is not known"):
        LeanTransport("http://127.0.0.1:1")


async def test_default_transport_does_without_what_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer())
        if len(server.peers) == 1:
            await peer.request()
            await peer.send(answer())
            await asyncio.sleep(0.05)
            await peer.send(answer(b"late"))
        await peer.wait_until_gone()

    for module in (private, session):
        monkeypatch.setattr(module, "UNUSABLE", "aiohttp 9 is not known")
    async with serving(script) as server:
        transport = AiohttpTransport(server.url)
        await transport.open()
        for _ in range(2):
            assert (await send(transport)).body == BODY
        await asyncio.sleep(0.15)
        assert (await send(transport)).body == BODY
        assert [len(peer.requests) for peer in server.peers] == [2, 1]
        await transport.close()


def test_the_same_holds_with_the_parser_in_python() -> None:
    """aiohttp parses in Python where it has no compiled parser; that one lets more pass."""
    here = Path(__file__)
    modules = [str(here.with_name(f"test_{name}.py")) for name in ("requests", "answers", "connections")]
    options = ["-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", "not no-http and not two-lengths", *modules],
        cwd=here.parents[2],
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
