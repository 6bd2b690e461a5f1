"""The event loop goes on while an export waits for the disk, and a small list costs few waits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.export import export
from stackone_lms.sandbox import Sandbox

from ..soak import further

ROOT = Path(__file__).parents[2]
SLOW = ("fsync", "fdatasync", "unlink", "rmdir", "rename", "replace", "link")

IMPORTS = """
import asyncio, json, sys, threading

where = {}

class Watcher:
    def find_spec(self, name, path=None, target=None):
        where.setdefault(name, threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watcher())
import stackone_lms.export
from stackone_lms import AsyncClient

async def main(url, target):
    async with AsyncClient("key", base_url=url) as client:
        await stackone_lms.export.export(client, "users", target, accounts=sys.argv[3:], format="parquet")

asyncio.run(main(sys.argv[1], sys.argv[2]))
assert 'aiohttp' in sys.modules
print(json.dumps({name: where.get(name) for name in ("aiohttp", "pyarrow")}))
"""


@pytest.mark.parametrize("format", ["jsonl", "parquet", "sqlite", *further("csv", "duckdb", "delta")])
async def test_nothing_waits_for_the_disk_on_the_loop(
    format: str, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four waits for the disk a list, and the few of a run, whatever is written; all in other threads."""
    calls: Counter[str] = Counter()
    loops_own: list[str] = []
    loop_thread = threading.get_ident()

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            if threading.get_ident() == loop_thread:
                loops_own.append(name)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, watched)

    for name in SLOW:
        watch(os, name)
    watch(shutil, "rmtree")
    in_a_file = format in {"duckdb", "sqlite", "delta"}
    target = f"{format}:{tmp_path / 'lms.db'}" if in_a_file else str(tmp_path)
    options: Any = {} if in_a_file else {"format": format}
    accounts = sandbox.account_ids[:2]
    for incremental in (False, True):
        calls.clear()
        result = await export(
            client,
            ["users", "courses", "skills"],
            target,
            accounts=accounts,
            incremental=incremental,
            commit_interval=60,
            **options,
        )
        assert result.ok
        lists = len(result.lists)
        assert lists == 6
        assert calls["unlink"] > 0
        # Those of a run: folders, its note, the manifest; of each table that is made or written to, a commit.
        tables = 3 * (4 if incremental else 7) if format == "delta" else 0
        assert calls["fsync"] <= 4 * lists + 16 + tables
    assert loops_own == []


@pytest.mark.thorough
def test_packages_are_not_imported_on_the_loop(sandbox: Sandbox, tmp_path: Path) -> None:
    """Importing aiohttp or pyarrow takes 0.3 s, in which no timer would go off."""
    command = [sys.executable, "-c", IMPORTS, sandbox.url, str(tmp_path), *sandbox.account_ids[:1]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"aiohttp": False, "pyarrow": False}
