"""Lists as data frames, of both clients."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.errors import ExportError, InvalidArgumentError, NotFoundError
from stackone_lms.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(users=30, courses=5, contents=5, assignments=5, completions=5) as running:
        yield running


def _client(sandbox: Sandbox, cls: type[Any]) -> Any:
    return cls(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url)


def _rows(frame: Any) -> Any:
    return frame.num_rows if hasattr(frame, "num_rows") else len(frame)


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])
async def test_a_pager_becomes_a_frame(sandbox: Sandbox, kind: str) -> None:
    async with _client(sandbox, AsyncClient) as client:
        frame = await getattr(client.users.list(), f"to_{kind}")()
        empty = await getattr(client.users.list(email="nobody@example.com"), f"to_{kind}")()
    assert (_rows(frame), _rows(empty)) == (30, 0)
    assert {"id", "email", "active", "extra"} <= set(getattr(frame, "column_names", None) or frame.columns)


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])
def test_a_blocking_pager_becomes_a_frame(sandbox: Sandbox, kind: str) -> None:
    with _client(sandbox, SyncClient) as client:
        frame = getattr(client.users.list(max_items=10), f"to_{kind}")()
    assert _rows(frame) == 10


KINDS = pytest.mark.parametrize("kind", ["arrow", "pandas", "polars"])


def _columns(frame: Any) -> set[str]:
    return set(getattr(frame, "column_names", None) or frame.columns)


def _streams(client: Any, sandbox: Sandbox, *, empty: bool = False) -> dict[str, Any]:
    """Return each kind of stream, and how many records it has."""
    ids = [] if empty else sandbox.ids("users")[:5]
    several = client.for_accounts(sandbox.account_ids[:2])
    filters = {"email": "nobody@example.com"} if empty else {}
    return {
        "get_many": (client.users.get_many(ids), len(ids)),
        "of a user": (client.users.completions.get_many(sandbox.ids("users")[0], []), 0),
        "lists": (several.users.list(**filters), 0 if empty else 60),
        "many of several": (several.users.get_many({sandbox.account_ids[0]: ids}), len(ids)),
        "one of several": (several.users.get(sandbox.ids("users")[0]), 2),
    }


@KINDS
@pytest.mark.parametrize("empty", [False, True])
async def test_streams_become_frames(sandbox: Sandbox, kind: str, empty: bool) -> None:
    async with _client(sandbox, AsyncClient) as client:
        for name, (stream, size) in _streams(client, sandbox, empty=empty).items():
            frame = await getattr(stream, f"to_{kind}")(errors="skip")
            assert _rows(frame) in ({1, 2} if name == "one of several" else {size}), name
            assert {"id", "extra"} <= _columns(frame)
            assert ("account_id" in _columns(frame)) == ("several" in name or name == "lists")
        listed = client.for_accounts(client.accounts.list(account_ids=sandbox.account_ids[:2]))
        frame = await getattr(listed.users.list(), f"to_{kind}")()
    assert _rows(frame) == 60


@KINDS
@pytest.mark.parametrize("empty", [False, True])
def test_blocking_streams_become_frames(sandbox: Sandbox, kind: str, empty: bool) -> None:
    with _client(sandbox, SyncClient) as client:
        for name, (stream, size) in _streams(client, sandbox, empty=empty).items():
            frame = getattr(stream, f"to_{kind}")(errors="skip")
            assert _rows(frame) in ({1, 2} if name == "one of several" else {size}), name
            assert {"id", "extra"} <= _columns(frame)
            assert ("account_id" in _columns(frame)) == ("several" in name or name == "lists")


@pytest.mark.filterwarnings("ignore:SyncClient is called where an event loop runs")
async def test_an_outcome_that_is_an_error_is_raised_or_skipped(sandbox: Sandbox) -> None:
    ids = [*sandbox.ids("users")[:2], "nobody"]
    async with _client(sandbox, AsyncClient) as client:
        with pytest.raises(NotFoundError):
            await client.users.get_many(ids).to_polars()
        assert len(await client.users.get_many(ids).to_polars(errors="skip")) == 2
    with _client(sandbox, SyncClient) as client:
        with pytest.raises(NotFoundError):
            client.users.get_many(ids).to_pandas()
        assert len(client.users.get_many(ids).to_pandas(errors="skip")) == 2
        with pytest.raises(InvalidArgumentError, match="errors must be extra, raise or skip"):
            client.users.list().to_arrow(errors="all")


@pytest.mark.parametrize("missing", ["pyarrow", "pandas", "polars"])
async def test_the_extra_is_named_before_anything_is_fetched(
    sandbox: Sandbox, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "arrow" if missing == "pyarrow" else missing
    message = rf"pip install 'stackone-lms\[{kind}\]'"
    async with _client(sandbox, AsyncClient) as client:
        with _client(sandbox, SyncClient) as blocking:
            monkeypatch.setitem(sys.modules, missing, None)
            for stream, _ in [(client.users.list(), 0), *_streams(client, sandbox).values()]:
                with pytest.raises(ExportError, match=message):
                    await getattr(stream, f"to_{kind}")()
            for stream, _ in [(blocking.users.list(), 0), *_streams(blocking, sandbox).values()]:
                with pytest.raises(ExportError, match=message):
                    getattr(stream, f"to_{kind}")()
            assert client.stats().requests == blocking.stats().requests == 0


@pytest.mark.filterwarnings("ignore:SyncClient is called where an event loop runs")
async def test_streams_are_the_generators_that_they_were(sandbox: Sandbox) -> None:
    """Stepped by hand, closed halfway, and iterated once."""
    ids = sandbox.ids("users")
    async with _client(sandbox, AsyncClient) as client:
        stream = client.users.get_many(ids)
        assert issubclass(type(stream), AsyncGenerator)
        assert (await anext(stream)).ok
        assert (await stream.asend(None)).ok
        with pytest.raises(ZeroDivisionError):
            await stream.athrow(ZeroDivisionError)
        assert [outcome async for outcome in stream] == []
        stream = client.users.get_many(ids)
        async with aclosing(stream):
            async for _ in stream:
                break
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert client.stats().in_flight == 0
        assert repr(stream) == "<AsyncOutcomes of User>"
    with _client(sandbox, SyncClient) as client:
        blocking = client.users.get_many(ids)
        assert issubclass(type(blocking), Generator)
        assert next(blocking).ok
        assert blocking.send(None).ok
        with pytest.raises(ZeroDivisionError):
            blocking.throw(ZeroDivisionError)
        assert list(blocking) == []
        with closing(client.users.get_many(ids)) as blocking:
            for _ in blocking:
                break
        assert next(blocking, None) is None
        assert client.stats().in_flight == 0
        assert repr(blocking) == "<SyncOutcomes of User>"


def test_a_pager_in_a_notebook_fetches_nothing(sandbox: Sandbox) -> None:
    with _client(sandbox, SyncClient) as client:
        before = client.stats().requests
        html = client.users.list()._repr_html_()
        assert client.stats().requests == before
    assert "&lt;SyncPager of users.list&gt;" in html
    assert "first_page()" in html
