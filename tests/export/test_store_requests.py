"""An export sends an object store as many requests as the guide says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stackone_lms.export import verify

from .test_store import Exports, exports, s3, sandbox, server

__all__ = ["exports", "s3", "sandbox", "server"]

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "object-stores.md"


@pytest.mark.thorough
async def test_the_guide_counts_the_requests_to_a_store(exports: Exports) -> None:
    text = GUIDE.read_text("utf-8")
    a_run, a_first_list, a_replaced_list = (
        int(re.findall(rf"^\| {name} \| (\d+)", text, re.MULTILINE)[0])
        for name in ("a run", "a list, the first time", "a list that is merged or replaced")
    )
    a_file, besides = map(int, re.findall(r"^\| `verify` \| (\d+) for each file, and (\d+)", text, re.MULTILINE)[0])

    def sent() -> int:
        count = len(exports.s3.requests)
        exports.s3.requests.clear()
        return count

    await exports()
    assert sent() == a_run + 4 * a_first_list
    await exports(incremental=True)
    assert sent() == a_run + 4 * a_replaced_list
    await exports(accounts=[exports.sandbox.account_ids[0], exports.sandbox.inactive_account_id])
    assert sent() == a_run + 2 * a_replaced_list
    assert verify(exports.url, store_options=exports.s3.options).files == 4
    assert sent() == 4 * a_file + besides
