"""Which transport `auto` is."""

from __future__ import annotations

import logging

import aiohttp

from .lean import LeanTransport
from .private import UNUSABLE

log = logging.getLogger("stackone_lms")

_told: set[str] = set()


def lean_or_reason(*, asked: bool, session: bool) -> type[LeanTransport] | str:
    """Return the lean transport, or why not it.

    Args:
        asked: Whether it was asked for by name: then falling back is worth a warning.
        session: Whether the caller gave a session of his own.
    """
    if session:
        return "a session was given"
    # Mocking libraries put a function of theirs in the place of this one, and mean to see every request.
    if not asked and aiohttp.ClientSession._request.__module__ != aiohttp.ClientSession.__module__:  # pyright: ignore[reportPrivateUsage]
        return "aiohttp's session is mocked"
    if UNUSABLE is not None:
        if UNUSABLE not in _told:
            _told.add(UNUSABLE)
            log.warning("the lean transport is not used: %s", UNUSABLE)
        return UNUSABLE
    return LeanTransport
