"""Redis for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from .redis_server import RedisServer, redis_server

_keys = count()


@pytest.fixture(scope="session")
def _shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), "--save", "") as server:
        yield server


@pytest.fixture
def url(_shared_redis: RedisServer) -> str:
    """A key of one's own in a Redis that other tests use, too."""
    return f"{_shared_redis.url}#key-{next(_keys)}"


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts a redis-server for the test alone, with more of its command line."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(redis_server(tmp_path, *arguments))
