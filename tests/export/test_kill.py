"""SIGKILL and Ctrl-C at random moments: the same command ends with what an undisturbed run makes."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stackone_lms.export import verify
from stackone_lms.sandbox import Sandbox

from ..soak import SOAK
from ..soak import rounds as count
from .datasets import STAMPS, delta_rows, lines, records, rows_in, sent

ROOT = Path(__file__).parents[2]
ROUNDS = count(60, 9)
RESOURCES = ["completions", "users", "courses"]
FORMATS = ("jsonl", "parquet", "csv", "sqlite", "duckdb", "delta") if SOAK else ("jsonl", "parquet", "sqlite")
TABLES = ("sqlite", "duckdb", "delta")


def rounds(order: dict[str, Any]) -> list[dict[str, Any]]:
    """Run `killed.py`; look at the target after every round."""
    command = [sys.executable, "-m", "tests.export.killed", json.dumps(order)]
    done: list[dict[str, Any]] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=os.environ
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            done.append(json.loads(line))
            target = Path(done[-1]["path"])
            lines(target)  # no torn line, at any moment
            if done[-1]["code"] == 0 and target.is_dir():
                assert verify(target).ok, (done[-1], verify(target).problems)
            if done[-1]["round"] >= 0:
                process.stdin.write("\n")
                process.stdin.flush()
    assert process.returncode == 0, done[-1:]
    return done


def rows_of(connection: Any, table: str) -> list[Any]:
    if isinstance(connection, sqlite3.Connection):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] not in STAMPS]
        return connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    sql = f"SELECT to_json(t) FROM (SELECT * EXCLUDE ({', '.join(STAMPS)}) FROM {table}) t"
    rows: list[Any] = connection.execute(sql).fetchall()
    return rows


def content_of(target: str) -> Counter[Any]:
    """Return every record of a target, and how often it is there."""
    kind, _, file = target.rpartition(":")
    found: Counter[Any] = Counter()
    if kind == "delta":
        for name in [*RESOURCES, *(f"{resource}_calls" for resource in RESOURCES)]:
            rows = ({k: v for k, v in row.items() if k not in STAMPS} for row in delta_rows(file, name))
            found.update((name, repr(row)) for row in rows)
        return found
    if kind:
        connection: Any = sqlite3.connect(file) if kind == "sqlite" else duckdb.connect(file)
        for name in [*RESOURCES, *(f"{resource}_calls" for resource in RESOURCES)]:
            found.update((name, repr(row)) for row in rows_of(connection, name))
        connection.close()
        return found
    for path in Path(target).glob("resource=*/account=*/part-0.*"):
        found.update((path.relative_to(target).as_posix(), row) for row in rows_in(path))
    return found


@pytest.mark.rounds
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_runs_end_with_every_record_once(tmp_path: Path) -> None:
    """After each of many blows the same command goes on, to every kind of target; in the end each holds, record for
    record, what a run that was left alone makes, and the JSON lines are the server's, byte by byte."""
    targets = [
        {
            "format": "jsonl" if name in TABLES else name,
            "path": f"{name}:{tmp_path}/{name}.db" if name in TABLES else f"{tmp_path}/{name}",
            "undisturbed": f"{name}:{tmp_path}/u-{name}.db" if name in TABLES else f"{tmp_path}/u-{name}",
        }
        for name in FORMATS
    ]
    with Sandbox.in_thread(accounts=2, users=30, courses=10, contents=5, assignments=0, completions=240) as sandbox:
        done = rounds(
            {
                "url": sandbox.url,
                "key": sandbox.api_key,
                "accounts": sandbox.account_ids,
                "resources": RESOURCES,
                "targets": targets,
                "page_size": 25,
                "rounds": ROUNDS,
                "seconds": count(60, 40),  # on a machine that is busy with other things there are fewer
                "seed": 20261124,
            }
        )
        expected = sent(sandbox, *RESOURCES)
    codes = [one["code"] for one in done]
    assert len([code for code in codes if code < 0]) >= max(2, (len(codes) - len(FORMATS)) // 4), done
    assert set(codes[-len(FORMATS) :]) == {0}, done
    for target in targets:
        found = content_of(target["path"])
        assert found == content_of(target["undisturbed"]), target
        assert sum(count for (name, _), count in found.items() if "completions" in name) >= 480
        assert set(found.values()) == {1}
    assert {key: some for key, some in records(tmp_path / "jsonl").items() if ".calls" not in key[0]} == expected
