"""An export sends an object store as many requests as the guide says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.export import verify

from .test_store import Exports, exports, s3, sandbox, server

__all__ = ["exports", "s3", "sandbox", "server"]

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "object-stores.md"


@pytest.mark.thorough
async def test_the_guide_counts_the_requests_to_a_store(exports: Exports) -> None:
    text = GUIDE.read_text("utf-8")
    a_run, a_first_list, a_replaced_list, a_list_as_it_was = (
        int(re.findall(rf"^\| {name}[^|]* \| (\d+)", text, re.MULTILINE)[0])
        for name in (
            "a run",
            "a list, the first time",
            "a list that is merged or replaced",
            "a list whose file would be the same",
        )
    )
    a_file, besides = map(int, re.findall(r"^\| `verify` \| (\d+) for each file, and (\d+)", text, re.MULTILINE)[0])

    def sent() -> int:
        count = len(exports.s3.requests)
        exports.s3.requests.clear()
        return count

    def files() -> dict[str, bytes]:
        found = {name: body for name, body in exports.objects().items() if name.startswith("resource=")}
        exports.s3.requests.clear()
        return found

    async def lists_written(**options: Any) -> int:
        """Export once more, and return of how many lists the file is another one than before."""
        before = files()
        result = await exports(**options)
        requests = sent()
        written = sum(body != before.get(name) for name, body in files().items())
        as_they_were = sum(one.ok for one in result.lists) - written
        assert requests == a_run + written * a_replaced_list + as_they_were * a_list_as_it_was
        return written

    await exports()
    assert sent() == a_run + 4 * a_first_list
    assert await lists_written(incremental=True) > 0
    assert await lists_written(incremental=True) == 0
    first = exports.sandbox.account_ids[0]
    async with AsyncClient(exports.sandbox.api_key, first, base_url=exports.sandbox.url) as client:
        content = exports.sandbox.record("content", exports.sandbox.ids("content", first)[0], first)
        await client.users.completions.create(
            exports.sandbox.ids("users", first)[0], learning_object_external_reference=content["external_reference"]
        )
    assert await lists_written(accounts=[first, exports.sandbox.inactive_account_id]) > 0
    assert verify(exports.url, store_options=exports.s3.options).files == 4
    assert sent() == 4 * a_file + besides
