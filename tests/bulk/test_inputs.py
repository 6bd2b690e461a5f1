"""Where ids may come from."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stackone_lms.errors import ClientClosedError, InvalidArgumentError

from .server import Server, blocking, client, ids

INPUTS: dict[str, Callable[[list[str]], Iterable[str]]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "dict": dict.fromkeys,
    "generator": lambda some: (id for id in some),
    "iterator": iter,
    "map": lambda some: map(str, some),
    "text": lambda some: io.StringIO("\n".join(some)),
}


@pytest.mark.parametrize("kind", INPUTS)
async def test_any_iterable_will_do(kind: str) -> None:
    """Lists, sets, generators and open text files give the same outcomes, with both clients."""
    some = ids(30)
    async with client(Server()) as of:
        outcomes = [o.id async for o in of.completions.get_many(INPUTS[kind](some))]
    assert sorted(outcomes) == sorted(some)

    def block() -> list[str]:
        with blocking(Server()) as of:
            return [o.id for o in of.completions.get_many(INPUTS[kind](some))]

    assert sorted(await asyncio.to_thread(block)) == sorted(some)


FILE = "\ufeff id one \r\n\r\n\n  \nid-2\t\n\u00e9/3#\nlast"
READ = ["id one", "id-2", "\u00e9/3#", "last"]


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_path_is_a_file_of_ids(tmp_path: Path, ordered: bool) -> None:
    """One id a line, in UTF-8, with or without a byte order mark; blank lines and outer white space do not count."""
    path = tmp_path / "ids.txt"
    path.write_text(FILE, encoding="utf-8")
    server = Server()
    async with client(server) as of:
        outcomes = [o async for o in of.completions.get_many(path, ordered=ordered)]
    assert sorted(o.id for o in outcomes) == sorted(READ)
    assert all(o.ok for o in outcomes)
    assert server.fetched == dict.fromkeys(READ, 1)


def test_a_path_is_closed_when_the_loop_is_left(tmp_path: Path) -> None:
    """Breaking off closes the file that `get_many` opened."""
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(ids(5000)))
    with blocking(Server()) as of:
        for _ in range(3):
            iterator = of.completions.get_many(path)
            next(iterator)
            iterator.close()
            assert str(path) not in {file.path for file in psutil.Process().open_files()}


def test_an_open_file_is_read_and_stays_open() -> None:
    """Files that the caller opened stay his to close, also such as `tempfile` wraps."""
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8") as file, blocking(Server()) as of:
        file.write("a\n\nb\n")
        file.seek(0)
        assert [o.id for o in of.completions.get_many(file, ordered=True)] == ["a", "b"]
        assert not file.closed


async def test_a_missing_file_is_the_callers_error(tmp_path: Path) -> None:
    """What opening the file raises is raised while iterating."""
    async with client(Server()) as of:
        with pytest.raises(FileNotFoundError):
            [o async for o in of.completions.get_many(tmp_path / "none")]


async def test_asynchronous_iterables_are_read_a_few_ids_ahead() -> None:
    """An asynchronous iterable is read as its ids are needed, not whole."""
    read = 0
    server = Server(latency=0.001)

    async def source() -> AsyncIterator[str]:
        nonlocal read
        for id in ids(5000):
            read += 1
            yield id

    async with client(server) as of:
        iterator = of.completions.get_many(source(), concurrency=4)
        for _ in range(10):
            await anext(iterator)
        await asyncio.sleep(0.05)
        assert read <= 512 + 16 + 1
        rest = [o async for o in iterator]
    assert len(rest) == 4990
    assert read == 5000


async def test_a_slow_asynchronous_iterable_gets_its_outcomes_at_once() -> None:
    """Outcomes do not wait for further ids."""
    go = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        await go.wait()
        yield "b"

    async with client(Server()) as of:
        iterator = of.completions.get_many(source())
        async with asyncio.timeout(2):
            assert (await anext(iterator)).id == "a"
            go.set()
            assert (await anext(iterator)).id == "b"
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)


async def test_a_generator_of_ids_is_read_as_needed() -> None:
    """With `AsyncClient` a generator moves on when a worker needs the next id, and not before."""
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        for id in ids(5000):
            read += 1
            yield id

    async with client(Server(latency=0.001)) as of:
        iterator = of.completions.get_many(source(), concurrency=3)
        await anext(iterator)
        assert read <= 3 + 3 + 1
        await iterator.aclose()


class _BrokenError(Exception):
    pass


def _broken() -> Iterator[str]:
    yield from ids(20)
    raise _BrokenError


async def _broken_async() -> AsyncIterator[str]:
    for id in ids(20):
        yield id
    raise _BrokenError


@pytest.mark.parametrize("source", [_broken, _broken_async])
@pytest.mark.parametrize("ordered", [False, True])
async def test_what_the_ids_raise_comes_after_all_outcomes(source: Callable[[], Any], ordered: bool) -> None:
    """If the caller's iterable raises, what it gave before is still fetched and delivered."""
    outcomes: list[str] = []
    async with client(Server(latency=0.001)) as of:
        with pytest.raises(_BrokenError):
            async for outcome in of.completions.get_many(source(), ordered=ordered):
                outcomes.append(outcome.id)
    assert sorted(outcomes) == sorted(ids(20))


def test_what_the_ids_raise_comes_after_all_outcomes_in_the_blocking_client() -> None:
    """The same in the blocking client."""
    outcomes: list[str] = []
    with blocking(Server(latency=0.001)) as of:
        with pytest.raises(_BrokenError):
            for outcome in of.completions.get_many(_broken()):
                outcomes.append(outcome.id)
        assert sorted(outcomes) == sorted(ids(20))
        assert of.completions.get("after").data.id == "after"


def test_the_blocking_client_refuses_asynchronous_iterables() -> None:
    """They need a loop of the caller's."""
    with blocking(Server()) as of, pytest.raises(InvalidArgumentError, match="AsyncClient"):
        of.completions.get_many(_broken_async())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def test_a_closed_client_says_so() -> None:
    """Iterating after `aclose` raises ClientClosedError, and the ids stay the caller's."""
    of = client(Server())
    await of.aclose()
    rest = iter(ids(100))
    with pytest.raises(ClientClosedError) as caught:
        [o async for o in of.completions.get_many(rest)]
    assert caught.value.pending + list(rest) == ids(100)
