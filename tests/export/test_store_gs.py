"""Exports into Google Cloud Storage, as a local server of its XML API sees them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import export, forget, verify
from stackone_lms.export.stores.lock import LOCK
from stackone_lms.sandbox import Sandbox

from .gcs import BUCKET, GCS, running

PLACE = f"gs://{BUCKET}/lms"


@pytest.fixture
def gcs() -> Iterator[GCS]:
    with running() as server:
        yield server


async def test_whole_then_changes_from_another_machine(
    client: AsyncClient, sandbox: Sandbox, gcs: GCS, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"accounts": sandbox.account_ids, "store_options": gcs.options}
    assert (await export(client, ["completions", "users"], PLACE, work=tmp_path / "here", **common)).ok
    assert min(gcs.objects) == "lms/_manifest.json"
    before = sandbox.request_count
    result = await export(client, ["completions", "users"], PLACE, work=tmp_path / "there", incremental=True, **common)
    assert result.ok
    assert all(one.whole_because is None for one in result.lists)
    assert sandbox.request_count - before == 4
    assert verify(PLACE, store_options=gcs.options).problems == []
    forget(PLACE, sandbox.account_ids[0], work=tmp_path / "here", store_options=gcs.options)
    assert len(gcs.objects) == 3
    assert verify(PLACE, store_options=gcs.options).problems == []


async def test_only_one_writes(client: AsyncClient, sandbox: Sandbox, gcs: GCS, tmp_path: Path) -> None:
    """The lock of another export is there, or comes between a look and the write, which has a condition."""
    common: dict[str, Any] = {"accounts": sandbox.account_ids, "store_options": gcs.options, "work": tmp_path / "work"}
    gcs.objects[f"lms/{LOCK}"] = (b'{"version": 1, "token": "of another"}', 7)
    for refused in (0, 1):
        if refused:
            gcs.unseen.add(f"lms/{LOCK}")
        with pytest.raises(ExportError, match="another export is writing"):
            await export(client, "users", PLACE, **common)
        assert gcs.refused == refused
    assert gcs.objects[f"lms/{LOCK}"][1] == 7
    assert (await export(client, "users", PLACE, break_lock=True, **common)).ok
    assert f"lms/{LOCK}" not in gcs.objects


async def test_plain_http_has_to_be_allowed(client: AsyncClient, sandbox: Sandbox, gcs: GCS, tmp_path: Path) -> None:
    """Where the store is stands in the file of its account; it is told before anything is asked for."""
    given: Any = {"accounts": sandbox.account_ids, "work": tmp_path / "work"}
    options = {name: value for name, value in gcs.options.items() if name != "allow_http"}
    with pytest.raises(ExportError, match="at http://, which needs the store option allow_http=true"):
        await export(client, "users", PLACE, store_options=options, **given)
    assert sandbox.request_count == 0
