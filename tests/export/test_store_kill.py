"""SIGKILL at random moments, and at each request to the store: objects end as an undisturbed run leaves them."""

from __future__ import annotations

import itertools
import json
import os
import queue
import random
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.export import verify
from stackone_lms.export.stores.lock import LOCK
from stackone_lms.sandbox import Sandbox

from ..soak import SOAK, further
from .datasets import STAMPS
from .s3 import BUCKET, S3, running

ROOT = Path(__file__).parents[2]
PARTS = 20
"""In how many tests all requests are tried, so that none of them takes long."""
MANIFEST = "_manifest.json"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


class Machine:
    """Runs exports in processes of their own; see `forked`."""

    def __init__(self, sandbox: Sandbox, s3: S3, folder: Path, process: subprocess.Popen[str]) -> None:
        self.sandbox, self.s3, self.folder, self._process = sandbox, s3, folder, process
        self._pids: queue.Queue[int] = queue.Queue()

    def run(
        self,
        prefix: str,
        work: str,
        kill_after: float | None = None,
        *,
        kind: str = "",
        target: str | None = None,
        resources: Sequence[str] = ("completions", "users"),
        **options: Any,
    ) -> tuple[int, float]:
        """Run an export, of files or another kind, or elsewhere; return how it ended and how long it ran."""
        order = {
            "key": self.sandbox.api_key,
            "url": self.sandbox.url,
            "resources": resources,
            "target": target or f"{kind}s3://{BUCKET}/{prefix}",
            "options": {
                "accounts": self.sandbox.account_ids,
                "page_size": 25,
                "commit_interval": 0.0,
                "work": str(self.folder / work),
                "store_options": self.s3.options,
                **options,
            },
            "kill_after": kill_after,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pids = queue.Queue()
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        self._pids.put(json.loads(self._process.stdout.readline()))
        code, seconds = json.loads(self._process.stdout.readline())
        return code, seconds

    def kill(self) -> None:
        """Kill the export that runs; called by the server, maybe before its id is read."""
        os.kill(self._pids.get(timeout=30), signal.SIGKILL)

    def check(self, prefix: str, expected: dict[str, Any], *works: str) -> None:
        """See that the objects are those of an undisturbed run, and nothing else is anywhere."""
        found = self.s3.objects(prefix)
        assert {name: content(name, body) for name, body in found.items()} == expected
        named = {file["path"] for entry in json.loads(found[MANIFEST])["lists"] for file in entry["files"]}
        assert set(found) == {MANIFEST, *named}
        checked = verify(f"s3://{BUCKET}/{prefix}", store_options=self.s3.options)
        assert checked.ok, checked.problems
        assert not self.s3.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
        for work in works:
            left = {path.name for path in (self.folder / work).rglob("*") if path.is_file()}
            assert left <= {"lock", "store.json"}, left


def content(name: str, body: bytes) -> Any:
    """Return what is in an object, without what differs from run to run."""
    if name == MANIFEST:
        lists = json.loads(body)["lists"]
        return [[entry[key] for key in ("resource", "account_id", "records", "high_water")] for entry in lists]
    if name.endswith(".parquet"):
        table: Any = import_module("pyarrow.parquet").read_table(BytesIO(body), partitioning=None)
        return sorted(map(repr, table.drop_columns(STAMPS).to_pylist()))
    return body


@contextmanager
def machine(sandbox: Sandbox, s3: S3, folder: Path) -> Generator[Machine]:
    command = [sys.executable, "-m", "tests.export.forked"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=os.environ
    ) as process:
        yield Machine(sandbox, s3, folder, process)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    sizes: dict[str, Any] = {
        "accounts": 3,
        "users": 6,
        "courses": 3,
        "contents": 2,
        "assignments": 0,
        "completions": 60,
    }
    with (
        running() as s3,
        Sandbox.in_thread(**sizes) as sandbox,
        machine(sandbox, s3, tmp_path_factory.mktemp("work")) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def undisturbed(exports: Machine) -> tuple[dict[str, Any], float]:
    """Return the objects of a run that was left alone, and how long one takes that does not begin cold."""
    assert exports.run("cold", "cold", raw=True)[0] == 0
    code, took = exports.run("alone", "alone", raw=True)
    found = exports.s3.objects("alone")
    assert code == 0
    assert LOCK not in found
    return {name: content(name, body) for name, body in found.items()}, took


@pytest.mark.rounds
@pytest.mark.parametrize("target", range(5 if SOAK else 1))
def test_killed_runs_end_with_the_objects_of_an_undisturbed_one(
    exports: Machine, undisturbed: tuple[dict[str, Any], float], target: int
) -> None:
    """Blows at random moments, twenty over all, each gone on with by the same work folder."""
    expected, took = undisturbed
    dice, prefix, killed = random.Random(20261127 + target), f"random-{target}", 0
    latest = 0.7 * took
    while killed < (4 if SOAK else 2):
        code, _ = exports.run(prefix, prefix, dice.uniform(0.0, latest), raw=True)
        killed += code == -signal.SIGKILL
        latest /= 1 if code else 2  # it had come to its end already
        for name, body in exports.s3.objects(prefix).items():
            if name != LOCK:
                content(name, body)  # each object is whole at any moment
    assert exports.run(prefix, prefix, raw=True)[0] == 0
    exports.check(prefix, expected, prefix)


def prepare(exports: Machine, prefix: str) -> None:
    """Put what an earlier export left: an account more, and provider calls, which the next one takes away."""
    client = exports.s3.client
    for name, body in exports.s3.objects("prepared").items():
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=body)


@pytest.fixture(scope="module")
def changed(exports: Machine) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return options that take objects away, what they lead to, and how many requests to the store that takes."""
    assert exports.run("prepared", "prepared", raw=True, format="jsonl")[0] == 0
    options: dict[str, Any] = {"accounts": exports.sandbox.account_ids[:2], "prune": True, "format": "jsonl"}
    prepare(exports, "changed")
    exports.s3.requests.clear()
    assert exports.run("changed", "changed", **options)[0] == 0
    count = len(exports.s3.requests)
    expected = {name: content(name, body) for name, body in exports.s3.objects("changed").items()}
    assert not any(".calls" in name for name in expected)
    assert len(expected) == 5
    return options, expected, count


def moments(count: int, part: int) -> list[tuple[int, bool]]:
    """Return at which requests to kill, before or after they are carried out: a part of all."""
    every = [(number, after) for number in range(count) for after in (False, True)]
    random.Random(20261127).shuffle(every)
    return every[part::PARTS] if SOAK else every[:2]


def strike(exports: Machine, prefix: str, number: int, options: dict[str, Any], *, after: bool) -> None:
    """Run an export, and kill it at a request to the store."""
    prepare(exports, prefix)
    exports.s3.requests.clear()
    seen = itertools.count()

    def blow(method: str, key: str) -> str | None:
        if next(seen) == number:
            exports.kill()
            return "503"
        return None

    if after:
        exports.s3.after = blow
    else:
        exports.s3.fault = blow
    try:
        code, _ = exports.run(prefix, prefix, **options)
    finally:
        exports.s3.fault = exports.s3.after = lambda method, key: None
    assert code == -signal.SIGKILL or (after and code == 0)


@pytest.mark.rounds
@pytest.mark.parametrize("part", range(PARTS if SOAK else 1))
@pytest.mark.parametrize("lost", [False, *further(True)], ids=["same-folder", "folder-lost"])
def test_a_kill_at_any_request_leaves_nothing_behind(
    exports: Machine, changed: tuple[dict[str, Any], dict[str, Any], int], lost: bool, part: int
) -> None:
    """The same work folder goes on; where that is lost, another one does with `break_lock`."""
    options, expected, count = changed
    assert count >= 15
    for number, after in moments(count, part):
        prefix = f"{'lost' if lost else 'same'}-{number}-{'after' if after else 'before'}"
        strike(exports, prefix, number, options, after=after)
        if lost:
            again = exports.run(prefix, f"{prefix}-new", **options, break_lock=True)
            exports.check(prefix, expected, f"{prefix}-new")
        else:
            again = exports.run(prefix, prefix, **options)
            exports.check(prefix, expected, prefix)
        assert again[0] == 0
