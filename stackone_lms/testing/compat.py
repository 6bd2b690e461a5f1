"""aioresponses with the aiohttp of today.

aiohttp 3.14 made `stream_writer` a required argument of `ClientResponse`; aioresponses 0.7.9 does not give it, so that
every mocked answer is a TypeError (aioresponses issue 289).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from aiohttp import ClientResponse


class _NothingSent:
    output_size = 0


@contextmanager
def aioresponses_compat() -> Generator[None]:
    """Make aioresponses work while the context is active.

    Give `ClientResponse` the argument that aioresponses leaves out. Where it is given, as in all real responses and
    by a newer aioresponses, and where aiohttp does not want it, nothing changes.
    """
    original = ClientResponse.__init__
    if "stream_writer" not in inspect.signature(original).parameters:
        yield
        return

    @functools.wraps(original)
    def init(self: ClientResponse, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", _NothingSent())
        original(self, *args, **kwargs)

    with mock.patch.object(ClientResponse, "__init__", init):
        yield
