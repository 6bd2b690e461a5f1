"""CSV: read by other programs, and by the merge."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stackone_lms import AsyncClient
from stackone_lms.export import export, verify
from stackone_lms.export.formats.base import DamagedError, Table
from stackone_lms.export.formats.csv import Csv
from stackone_lms.models import User
from stackone_lms.sandbox import Sandbox

from .datasets import rows_in
from .test_export import Canned

AWKWARD: list[dict[str, Any]] = [
    {"id": "1", "name": 'says "hi",\nthen leaves', "email": "", "updated_at": "2026-01-01T00:00:00.000Z"},
    {"id": "2", "name": None, "active": "true", "unified_custom_fields": {"a": "x\ny"}},
    {"id": "3", "name": "=1+1", "active": False, "updated_at": "2026-01-01T00:00:00.123456Z"},
]


async def export_awkward(target: Path, *records: dict[str, Any], incremental: bool = False) -> Path:
    async with Canned({None: (None, list(records))}) as url, AsyncClient("key", base_url=url) as client:
        result = await export(client, "users", target, accounts=["a"], format="csv", incremental=incremental)
    assert result.ok
    (path,) = target.glob("resource=users/*/*.csv")
    return path


async def test_line_breaks_quotes_and_missing_values_survive(tmp_path: Path) -> None:
    """An empty text is `""`, a missing one is nothing; moments are as the API writes them."""
    path = await export_awkward(tmp_path, *AWKWARD)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ['says "hi",\nthen leaves', "", "=1+1"]
    assert [row["active"] for row in rows] == ["", "true", "false"]
    assert json.loads(rows[1]["unified_custom_fields"]) == {"a": "x\ny"}
    assert rows[2]["updated_at"] == "2026-01-01T00:00:00.123456Z"
    text = path.read_text()
    assert '"1",,,,"says ""hi"",\nthen leaves","",,' in text
    with duckdb.connect() as db:
        empty = db.execute(
            f"SELECT id FROM read_csv('{path}', all_varchar = true, allow_quoted_nulls = false) WHERE email = ''"
        ).fetchall()
    assert empty == [("1",)]


async def test_a_merge_keeps_the_rows_that_did_not_change(tmp_path: Path) -> None:
    """Rows that go over several lines are rows all the same."""
    before = (await export_awkward(tmp_path, *AWKWARD)).read_text()
    changed = {**AWKWARD[2], "name": "new", "updated_at": "2026-01-02T00:00:00.000Z"}
    after = (await export_awkward(tmp_path, changed, incremental=True)).read_text()
    assert after.startswith(before[: before.index('"a","3"')])  # with the runs that they came in
    assert after.count("\n") == before.count("\n")
    assert '"new"' in after
    assert verify(tmp_path).records == 3


def test_a_file_with_a_column_that_is_not_known_is_not_read(tmp_path: Path) -> None:
    """A newer version wrote it: what stands there would get lost in a merge."""
    path = tmp_path / "part-0.csv"
    path.write_text('account_id,id,not_yet\n"a","1","x"\n')
    with pytest.raises(DamagedError, match="another version"):
        list(Csv().keys(path, Table(User, "a")))


async def test_an_empty_cell_is_no_id(tmp_path: Path) -> None:
    """Two records without an id are two records, told apart by their content."""
    path = await export_awkward(tmp_path, {"name": "x"}, {"name": "y"})
    (keys,) = Csv().keys(path, Table(User, "a"))
    assert len(set(keys.ids)) == 2
    assert all(isinstance(id, bytes) for id in keys.ids)
    assert verify(tmp_path).records == 2


async def test_a_large_file_in_many_pieces(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the pieces that are read begin and end does not matter."""
    options: dict[str, Any] = {"accounts": sandbox.account_ids[:1], "format": "csv"}
    await export(client, "completions", tmp_path / "whole", **options)
    monkeypatch.setattr("stackone_lms.export.records.lines.CHUNK", 777)
    monkeypatch.setattr("stackone_lms.export.formats.csv._TOGETHER", 7)
    await export(client, "completions", tmp_path / "pieces", **options)
    await export(client, "completions", tmp_path / "pieces", incremental=True, **options)
    whole, pieces = (next((tmp_path / name).glob("resource=*/*/*.csv")) for name in ("whole", "pieces"))
    assert sorted(rows_in(pieces)) == sorted(rows_in(whole))


async def test_cells_of_any_length_and_with_any_line_breaks(tmp_path: Path) -> None:
    """Longer than what the module `csv` takes, and over more lines than one would read twice."""
    record = {"id": "1", "name": "x" * 200_000, "email": "a\r\nb\rc\n" * 5000, "updated_at": "2026-01-01T00:00:00.000Z"}
    before = (await export_awkward(tmp_path, record)).read_bytes()
    assert (await export_awkward(tmp_path, record, incremental=True)).read_bytes() == before
    table = Table(User, "a")
    ((cells),) = Csv().columns(next(tmp_path.glob("resource=users/*/*.csv")), table, ["name", "email", "phone_number"])
    assert cells == {"name": [record["name"]], "email": [record["email"]], "phone_number": [None]}


async def test_an_empty_id_is_an_id(tmp_path: Path) -> None:
    """It is another one than none, and stays the same record in the next run."""
    record = {"id": "", "name": "x", "updated_at": "2026-01-01T00:00:00.000Z"}
    await export_awkward(tmp_path, record, {"id": None})
    path = await export_awkward(tmp_path, record, incremental=True)
    ((keys),) = Csv().keys(path, Table(User, "a"))
    assert [id for id in keys.ids if isinstance(id, str)] == [""]
    assert len(keys.ids) == 2
