"""Exports into Azure Blob Storage, as Azurite is: killed in the middle of a list, gone on with, and from elsewhere."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import export, forget, verify

from .azure import CONTAINER, reason_to_skip, running
from .test_month import Api
from .test_store_kill import Machine, machine

PLACE = f"az://{CONTAINER}/lms"
ROWS, PAGE = 400, 25

pytestmark = pytest.mark.thorough


class Killing(Api):
    """An API that has a machine killed at one of its requests."""

    def __init__(self) -> None:
        super().__init__(20261128)
        self.count = self.killed_at = 0
        self.machine: Machine | None = None
        self.records["a"] = {"users": {}}
        for _ in range(ROWS):
            self.add("a", "users")

    async def answer(self, request: web.Request) -> web.Response:
        self.count += 1
        if self.count == self.killed_at and self.machine is not None:
            self.machine.kill()
        return await super().answer(request)


@pytest.fixture
def options(tmp_path: Path) -> Iterator[dict[str, str]]:
    if reason := reason_to_skip():
        pytest.skip(reason)
    with running(tmp_path) as made:
        yield made


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
async def test_a_list_is_gone_on_with_where_it_was_killed(options: dict[str, str], tmp_path: Path) -> None:
    """By the same work folder; another one is refused until then, and needs nothing but the store afterwards."""
    api = Killing()
    common: dict[str, Any] = {"accounts": ["a"], "store_options": options, "page_size": PAGE}
    with api.served() as url:
        sandbox: Any = SimpleNamespace(api_key="key", url=url, account_ids=["a"])
        server: Any = SimpleNamespace(options=options)
        with machine(sandbox, server, tmp_path) as api.machine:
            api.killed_at = 12
            code, _ = api.machine.run("lms", "here", target=PLACE, resources=["users"])
            assert code == -signal.SIGKILL
            async with AsyncClient("key", base_url=url, rate_limit=None) as client:
                before = api.count
                with pytest.raises(ExportError, match=f"another export is writing to {PLACE}, begun 20.*--break-lock"):
                    await export(client, "users", PLACE, work=tmp_path / "there", **common)
                assert api.count == before
                assert api.machine.run("lms", "here", target=PLACE, resources=["users"])[0] == 0
                # Of the 11 pages that were answered the last two may not have been written down.
                assert api.count - before <= ROWS // PAGE - 9
                assert verify(PLACE, store_options=options).records == ROWS
                api.night += 1
                api.add("a", "users")
                result = await export(client, "users", PLACE, work=tmp_path / "there", incremental=True, **common)
    assert result.lists[0].whole_because is None
    assert (result.lists[0].new, result.records) == (1, ROWS + 1)
    checked = verify(PLACE, store_options=options)
    assert (checked.ok, checked.files, checked.records) == (True, 1, ROWS + 1), checked.problems
    forget(PLACE, "a", work=tmp_path / "there", store_options=options)
    assert verify(PLACE, store_options=options).files == 0
