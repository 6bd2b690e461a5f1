"""The transport of a client that was given none: lean, or through aiohttp's session while somebody watches those."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from .aiohttp_internals import UNUSABLE
from .base import LazyTransport, Request, Response, TimeLimits, Transport
from .lean import LeanTransport
from .session import watched

log = logging.getLogger("stackone_lms")

_told: set[str] = set()


class AutoTransport(Transport):
    """Exchanges over a lean transport, but through aiohttp's session while that is `watched`.

    Args:
        lean: The lean transport.
        session: Makes the transport that uses a session, when it is first needed.
    """

    def __init__(self, lean: LeanTransport, session: Callable[[], Transport]) -> None:
        self._lean, self._session = lean, LazyTransport(session)

    async def open(self) -> None:
        """Get ready."""
        await self._lean.open()

    def send(self, request: Request, limits: TimeLimits) -> Coroutine[Any, Any, Response]:
        """Send one request and read its answer."""
        return self._through_session(request, limits) if watched() else self._lean.send(request, limits)

    async def _through_session(self, request: Request, limits: TimeLimits) -> Response:
        return await (await self._session.open()).send(request, limits)

    async def close(self) -> None:
        """Close both."""
        try:
            await self._lean.close()
        finally:
            await self._session.close()


def choose(lean: Callable[[], LeanTransport], session: Callable[[], Transport]) -> Transport:
    """Return the best transport for the aiohttp that is installed.

    Args:
        lean: Makes the lean transport.
        session: Makes the one that uses a session.
    """
    if UNUSABLE is None:
        return AutoTransport(lean(), session)
    if UNUSABLE not in _told:
        _told.add(UNUSABLE)
        log.warning("the lean transport is not used: %s", UNUSABLE)
    return session()
