"""Reading what an export wrote, and what it should have written."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from stackone_lms.sandbox import Sandbox

Key = tuple[str, str]
"""Resource and account."""


STAMPS = ["_exported_at", "_run"]
"""The columns that differ from run to run."""


def rows_in(path: Path) -> list[str]:
    """Return the records of a file as texts, without the run that brought them."""
    if path.suffix == ".parquet":
        return [repr(row) for row in table_of(path).drop_columns(STAMPS).to_pylist()]
    rows = path.read_text().splitlines()
    return [row.rsplit(",", 2)[0] for row in rows] if path.suffix == ".csv" else rows


def lines(folder: Path) -> dict[Key, list[bytes]]:
    """Return the lines of every JSONL file, in their order; each has to end."""
    found: dict[Key, list[bytes]] = {}
    for path in sorted(folder.glob("resource=*/account=*/*.jsonl")):
        resource, account = (unquote(part.partition("=")[2]) for part in path.parts[-3:-1])
        body = path.read_bytes()
        assert not body or body.endswith(b"\n"), f"{path} ends in a torn line"
        found.setdefault((resource, account), []).extend(body.splitlines())
    return found


def records(folder: Path) -> dict[Key, Counter[bytes]]:
    """Return how often each record stands in the JSONL files."""
    return {key: Counter(some) for key, some in lines(folder).items()}


def sent(sandbox: Sandbox, *resources: str) -> dict[Key, Counter[bytes]]:
    """Return what the sandbox has of these resources, as it sends it."""
    return {
        (resource, account): Counter(
            compact(sandbox.record(resource, id, account)) for id in sandbox.ids(resource, account)
        )
        for resource in resources
        for account in sandbox.account_ids
    }


def compact(value: Any) -> bytes:
    """Return JSON as the sandbox writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def table_of(path: Path) -> pa.Table:
    """Read one Parquet file, or a data set of them with the partitions as columns."""
    partitioning = None if path.is_file() else "hive"
    table: pa.Table = import_module("pyarrow.parquet").read_table(path, partitioning=partitioning)
    return table


def delta_rows(root: Path | str, name: str) -> list[dict[str, Any]]:
    """Return the rows of a Delta table below a place; none if there is no such table."""
    table: Any = import_module("deltalake").DeltaTable
    path = f"{root}/{name}"
    if not table.is_deltatable(path):
        return []
    rows: list[dict[str, Any]] = pa.table(table(path).scan()).to_pylist()
    return rows


def part_of(record: dict[str, Any], name: str, part: str) -> Any:
    """Return a part of a field that is an object, None if the field is null."""
    whole: dict[str, Any] | None = record.get(name)
    return None if whole is None else whole.get(part)
