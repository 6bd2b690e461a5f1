"""The package under test: clients that carry a canary key, and what must hold of them and of their errors."""

from __future__ import annotations

import asyncio
import base64
import pickle
import ssl
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.base_client import bound_executor_of
from stackone_lms.engine.call import Engine
from stackone_lms.errors import StackOneError
from stackone_lms.options import RetryPolicy, Timeout
from stackone_lms.transport.aiohttp_internals import UNUSABLE

from ..soak import further

Carrier = Literal["aiohttp", "lean"]
"""Which transport carries a client's requests."""

LEAN = pytest.param("lean", marks=pytest.mark.skipif(UNUSABLE is not None, reason=str(UNUSABLE)))
LEAN_FIRST = pytest.mark.parametrize("carrier", [LEAN, *further("aiohttp")], indirect=True)
"""For what is dear: over the other transport in `make thorough`."""

KEY = "canary-key-5d0c7e1f"
ACCOUNT = "canary-account-93b1"
SECRETS = (
    KEY,
    base64.b64encode(f"{KEY}:".encode()).decode(),
    base64.b64encode(KEY.encode()).decode().rstrip("="),
)
"""What no error, log or representation may show, in any of its spellings."""

TESTS = Path(__file__).parents[1]

ATTEMPTS = 3
PATIENT = Timeout(connect=10, read=10, attempt=20, total=60)
"""For what ends by itself: a slow machine must not turn it into a timeout."""
HASTY = Timeout(connect=10, read=0.2, attempt=0.4, total=60)
"""For what does not end by itself."""
UNCONNECTED = Timeout(connect=0.2, read=10, attempt=10, total=60)
"""For where no connection is made."""
SOON = RetryPolicy(attempts=ATTEMPTS, base=0.01, cap=0.02, throttle_base=0.01, throttle_cap=0.02)
"""Retries as usual, with pauses for tests."""


def client_for(
    carrier: Carrier | None, url: str, *, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncClient:
    """Return a client of the server at `url`, with quick retries and no limit of its own."""
    settings: dict[str, Any] = {"timeout": PATIENT, "retry": SOON, "rate_limit": None, **options}
    return AsyncClient(KEY, ACCOUNT, base_url=url, transport=carrier, ssl_context=context, **settings)


def blocking_client_for(carrier: Carrier, url: str, **options: Any) -> SyncClient:
    """Return a blocking client of the server at `url`."""
    settings: dict[str, Any] = {"timeout": PATIENT, "retry": SOON, "rate_limit": None, **options}
    return SyncClient(KEY, ACCOUNT, base_url=url, transport=carrier, **settings)


class SkippingClock:
    """A clock that jumps ahead where the client would sleep, or a test says so.

    Attributes:
        slept: Every pause, in order.
    """

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._skipped = 0.0
        self._stands_at: float | None = None

    def __call__(self) -> float:
        return time.monotonic() + self._skipped if self._stands_at is None else self._stands_at

    async def sleep(self, seconds: float) -> None:
        assert 0 <= seconds < 3600, seconds
        self.slept.append(seconds)
        await self.skip(seconds)

    async def skip(self, seconds: float) -> None:
        """Jump ahead, and let the event loop do what is due then, if this is its clock, too."""
        self.jump(seconds)
        await asyncio.sleep(0)

    def jump(self, seconds: float) -> None:
        """Jump ahead, as where a process is stopped, or code blocks its loop."""
        if self._stands_at is None:
            self._skipped += seconds
        else:
            self._stands_at += seconds

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Stand still but for jumps: how fast the machine is makes no difference."""
        self._stands_at = self()
        try:
            yield
        finally:
            self._skipped = self._stands_at - time.monotonic()
            self._stands_at = None


def engine_of(client: AsyncClient | SyncClient) -> Engine:
    return bound_executor_of(client).engine


def assert_idle(client: AsyncClient) -> None:
    """No slot is taken and nobody waits."""
    admission = engine_of(client).admission
    assert (admission.slots_used, admission.waiting) == (0, 0)


def shown_by(error: BaseException) -> str:
    """Return all that a log, a debugger or an error tracker could show of an exception.

    That includes the local variables of every function that it came through, but for those of the tests.
    """
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    there = [frame for frame in frames if not Path(frame.filename).is_relative_to(TESTS)]
    return "\n".join([str(error), repr(error), repr(error.args), repr(vars(error)), *(repr(f.locals) for f in there)])


def assert_presentable(error: BaseException) -> None:
    """The error is the package's own, holds no secret and no foreign exception, prints on one line, and pickles."""
    assert isinstance(error, StackOneError), repr(error)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < 1000
    behind: BaseException | None = error
    hidden = False
    while behind is not None:
        shown = shown_by(behind)
        assert [secret for secret in SECRETS if secret in shown] == []
        # Of what `from None` hides, the class is nobody's business; it must be as free of secrets.
        assert isinstance(behind, StackOneError) or hidden, repr(behind)
        hidden = behind.__suppress_context__
        behind = behind.__cause__ or behind.__context__
