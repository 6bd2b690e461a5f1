"""Changes are merged into a Parquet file at the cost of the row groups that they touch, with the same outcome."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl
import pytest

from stackone_lms.export.formats import parquet, row_groups
from stackone_lms.export.formats.base import Inputs, Table
from stackone_lms.export.formats.parquet import Parquet
from stackone_lms.export.lists import find
from stackone_lms.export.records.history import History, Stamp
from stackone_lms.export.records.keys import DuplicateScan
from stackone_lms.export.state.storage import AtomicFile

from ..soak import further

GROUP = 50
pa: Any = import_module("pyarrow")
pq: Any = import_module("pyarrow.parquet")
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", GROUP)
    monkeypatch.setattr(parquet, "_BATCH", GROUP)


class Merged(NamedTuple):
    found: DuplicateScan
    new: int
    changed: int
    path: Path

    def rows(self) -> list[str]:
        return sorted(json.dumps(row, default=str, sort_keys=True) for row in pq.read_table(self.path).to_pylist())


def spool(path: Path, records: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def table_of(resource: str) -> Table:
    one = find(resource)
    return Table(one.row_model, "account")


def merge(table: Table, base: Path | None, changes: Path, made: Path, run: str) -> Merged:
    form, history = Parquet(), History(Stamp(START, run))
    if base is None:
        found = DuplicateScan(0, frozenset(), None, None)
    else:
        found = form.find_duplicates(table, base, changes)
    draft = AtomicFile(made)
    form.write(draft, table, Inputs(base, changes, found.superseded, history), lambda: None)
    draft.commit()
    return Merged(found, history.new, history.changed, made)


def some_records(dice: random.Random, count: int, *, of_users: bool, ids: int) -> list[dict[str, Any]]:
    """Make records with the ids from 0 to `ids`, few of them twice."""
    made: list[dict[str, Any]] = []
    for number in dice.sample(range(ids), count):
        record: dict[str, Any] = {"id": f"r{number}", "score": {"percentage": dice.randrange(100)}}
        if dice.random() < 0.8:
            record["updated_at"] = (START + timedelta(minutes=dice.randrange(9999))).isoformat()
        if dice.random() < 0.05:
            record["unknown_field"] = dice.randrange(10)
        if of_users:
            record["of_user_id"] = f"u{number % 3}" if number % 7 else None
        made.append(record)
    return made


def nothing(_file: object, _superseded: frozenset[int]) -> set[int]:
    return set()


@pytest.mark.parametrize("seed", [0, *further(*range(1, 6))])
@pytest.mark.parametrize("resource", ["completions", "users.completions", "skills"])
def test_few_changes_are_merged_as_many_are(
    resource: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Night after night both ways have the same rows, counts and times."""
    dice, table = random.Random(seed), table_of(resource)
    everything = spool(tmp_path / "0", some_records(dice, 400, of_users=table.of_users, ids=1000))
    quick = slow = merge(table, None, everything, tmp_path / "base", "run-0").path
    for night in range(1, 5):
        some = some_records(dice, dice.choice((0, 1, 3, 60)), of_users=table.of_users, ids=1000)
        changes = spool(tmp_path / f"{night}", [*some, *some[:1]])
        ours = merge(table, quick, changes, tmp_path / f"quick{night}", f"run-{night}")
        with monkeypatch.context() as patched:
            patched.setattr(parquet, "_FEW", -1)
            patched.setattr(parquet.ColumnsOfFile, "untouched", nothing)
            other = merge(table, slow, changes, tmp_path / f"slow{night}", f"run-{night}")
        assert ours.rows() == other.rows()
        assert (ours.new, ours.changed) == (other.new, other.changed)
        assert len(ours.found.superseded) == len(other.found.superseded)
        assert ours.found._replace(superseded=frozenset()) == other.found._replace(superseded=frozenset())
        quick, slow = ours.path, other.path


def full_and_change(tmp_path: Path, *, changed: Sequence[int] = (77,)) -> tuple[Table, Path, Path]:
    table = table_of("completions")
    records = [{"id": f"r{n}", "updated_at": "2026-01-01T00:00:00Z"} for n in range(20 * GROUP)]
    base = merge(table, None, spool(tmp_path / "all", records), tmp_path / "base", "one").path
    changes = [{"id": f"r{n}", "updated_at": "2026-02-01T00:00:00Z", "time_spent": "PT1H"} for n in changed]
    return table, base, spool(tmp_path / "changes", changes)


def test_a_change_costs_the_row_group_that_it_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the others no row is decoded and encoded: their bytes are in the new file as they were."""
    table, base, changes = full_and_change(tmp_path)
    decoded: list[int] = []
    batches = parquet.ColumnsOfFile.batches

    def counted(self: Any, number: int) -> Any:
        decoded.append(number)
        return batches(self, number)

    monkeypatch.setattr(parquet.ColumnsOfFile, "batches", counted)
    merged = merge(table, base, changes, tmp_path / "merged", "two")
    assert decoded == [77 // (2 * GROUP)]
    assert (merged.new, merged.changed, len(merged.rows())) == (0, 1, 20 * GROUP)
    start, end = row_groups.extent(row_groups.read_footer(base)[4][1][1][5])
    assert base.read_bytes()[start:end] in merged.path.read_bytes()


@pytest.mark.thorough
def test_row_groups_stay_full_over_many_merges(tmp_path: Path) -> None:
    """What is decoded is packed together with what is new, so that there are no more of them after a year of nights."""
    dice = random.Random(1)
    table, base, _ = full_and_change(tmp_path)
    for night in range(40):
        records = [
            {"id": f"r{dice.randrange(20 * GROUP)}", "updated_at": f"2026-03-01T00:00:{night:02}Z"},
            {"id": f"new{night}", "updated_at": f"2026-03-01T00:00:{night:02}Z"},
        ]
        base = merge(table, base, spool(tmp_path / "changes", records), tmp_path / f"n{night % 2}", f"{night}").path
    sizes = [pq.read_metadata(base).row_group(n).num_rows for n in range(pq.read_metadata(base).num_row_groups)]
    assert sum(sizes) == 20 * GROUP + 40
    assert min(sizes[:-1]) >= GROUP


@pytest.mark.parametrize("changed", [(), (1,), (3, 77, 501), range(20 * GROUP)], ids=len)
def test_every_reader_reads_what_was_merged(changed: Sequence[int], tmp_path: Path) -> None:
    """Each id once, the changed ones as they are now; statistics, by which readers skip row groups, are right."""
    table, base, changes = full_and_change(tmp_path, changed=changed)
    path = merge(table, base, changes, tmp_path / "merged.parquet", "two").path
    count = f"SELECT count(*), count(DISTINCT id), count(time_spent) FROM '{path}'"
    assert duckdb.execute(count).fetchall() == [(20 * GROUP, 20 * GROUP, len(changed))]
    frame = pl.scan_parquet(path)
    assert frame.select(pl.len(), pl.col("time_spent").count()).collect().row(0) == (20 * GROUP, len(changed))
    for id in ("r0", "r77", "r999"):
        assert frame.filter(pl.col("id") == id).collect().height == 1
        assert duckdb.execute(f"SELECT count(*) FROM '{path}' WHERE id = '{id}'").fetchall() == [(1,)]
        assert pq.read_table(path, filters=[("id", "=", id)]).num_rows == 1
    groups = pq.ParquetFile(path)
    assert sum(groups.read_row_group(n).num_rows for n in range(groups.num_row_groups)) == 20 * GROUP


def test_a_footer_is_written_as_it_was_read(tmp_path: Path) -> None:
    """Also what no file of ours has: booleans, doubles, long lists, field numbers far apart."""
    _, base, _ = full_and_change(tmp_path)
    odd = pa.table({"a": [True, None] * 20, "b": [1.5, -2.5] * 20})
    with pq.ParquetWriter(tmp_path / "odd", odd.schema, write_page_index=True) as writer:
        writer.write_table(odd, row_group_size=1)
    for path in (base, tmp_path / "odd"):
        data = path.read_bytes()
        size = int.from_bytes(data[-8:-4], "little")
        assert row_groups.encode(row_groups.read_footer(path)) == data[-8 - size : -8]
    made = {
        1: (1, None),
        40: (2, None),
        41: (7, bytes(8)),
        300: (9, (1, [1, 2, 1])),
        301: (6, -(2**62)),
        302: (3, b"a"),
    }
    assert row_groups.decode(row_groups.encode(made)) == made


@pytest.mark.parametrize("otherwise", ["columns", "version"])
def test_a_file_made_otherwise_is_written_anew(otherwise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken over from a file with other columns, or of another version of pyarrow."""
    table, base, changes = full_and_change(tmp_path)
    if otherwise == "columns":
        older = pq.read_table(base)
        pq.write_table(older.drop_columns(["time_spent"]), base, compression="zstd", row_group_size=GROUP)
    else:
        data, version = base.read_bytes(), pq.read_metadata(base).created_by.encode()
        base.write_bytes(data.replace(version, version[:-1] + b"x"))
    monkeypatch.delattr(row_groups.SplicedFile, "take_over")
    merged = merge(table, base, changes, tmp_path / "merged", "two")
    assert (len(merged.rows()), merged.changed) == (20 * GROUP, 1)
