"""The pytest plugin. It is loaded in every run of pytest, so it imports nothing until a fixture is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..client import AsyncClient
    from ..sandbox import Sandbox, SandboxOptions
    from ..sync import SyncClient

_MARKER = "stackone_sandbox"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"{_MARKER}(**options): options of the sandbox behind the stackone_* fixtures.")


@pytest.fixture
def stackone_sandbox_options() -> SandboxOptions:
    """Options of the sandbox: override this fixture to set them for a module or a folder; a marker wins over it."""
    return {}


@pytest.fixture
def stackone_sandbox(request: pytest.FixtureRequest, stackone_sandbox_options: SandboxOptions) -> Iterator[Sandbox]:
    """A running sandbox of the test's own, set up with `@pytest.mark.stackone_sandbox(latency=0.1)`."""
    from ..sandbox import Sandbox  # noqa: PLC0415

    options = stackone_sandbox_options.copy()
    for mark in reversed(list(request.node.iter_markers(_MARKER))):
        if mark.args:
            raise pytest.UsageError(f"the marker {_MARKER} takes options of Sandbox by keyword only")
        options.update(mark.kwargs)
    with Sandbox.in_thread(**options) as sandbox:
        yield sandbox


@pytest.fixture
def stackone_env(stackone_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox of `stackone_sandbox`, and STACKONE_* set so that a client made without arguments uses it."""
    monkeypatch.setenv("STACKONE_API_KEY", stackone_sandbox.api_key)
    monkeypatch.setenv("STACKONE_ACCOUNT_ID", stackone_sandbox.account_ids[0])
    monkeypatch.setenv("STACKONE_BASE_URL", stackone_sandbox.url)
    return stackone_sandbox


@pytest.fixture
def stackone_client(stackone_sandbox: Sandbox) -> Iterator[AsyncClient]:
    """An AsyncClient of the sandbox's first account, without a client-side rate limit.

    It works with every runner of async tests, and with `asyncio.run` in plain ones.
    """
    from .clients import async_client  # noqa: PLC0415

    with async_client(stackone_sandbox) as client:
        yield client


@pytest.fixture
def stackone_sync_client(stackone_sandbox: Sandbox) -> Iterator[SyncClient]:
    """A SyncClient of the sandbox's first account, without a client-side rate limit."""
    from ..sync import SyncClient  # noqa: PLC0415

    sandbox = stackone_sandbox
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, rate_limit=None) as client:
        yield client


@pytest.fixture
def aioresponses_compat() -> Iterator[None]:
    """Makes aioresponses work with the aiohttp of today, during the test."""
    from .compat import aioresponses_compat  # noqa: PLC0415

    with aioresponses_compat():
        yield
