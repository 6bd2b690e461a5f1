"""Lists as data frames, of both clients."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.errors import ExportError
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


@pytest.mark.parametrize(("missing", "kind"), [("pyarrow", "arrow"), ("pandas", "pandas"), ("polars", "polars")])
def test_the_extra_is_named(sandbox: Sandbox, missing: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with _client(sandbox, SyncClient) as client:
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(ExportError, match=rf"pip install 'stackone-lms\[{kind}\]'"):
            getattr(client.users.list(), f"to_{kind}")()


def test_a_pager_in_a_notebook_fetches_nothing(sandbox: Sandbox) -> None:
    with _client(sandbox, SyncClient) as client:
        before = client.stats().requests
        html = client.users.list()._repr_html_()
        assert client.stats().requests == before
    assert "&lt;SyncPager of Users.list&gt;" in html
    assert "first_page()" in html
