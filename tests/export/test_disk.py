"""A disk that is full or fails: an ExportError, nothing torn, and the same call goes on."""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import ExportProgress, export, verify
from stackone_lms.export.formats.base import Inputs, Table
from stackone_lms.export.formats.csv import Csv
from stackone_lms.export.state import storage
from stackone_lms.export.state.storage import AppendFile, AtomicFile, locked
from stackone_lms.sandbox import Sandbox

from .datasets import lines, records, sent

ROOT = Path(__file__).parents[2]

LIMITED = """
import asyncio, resource, sys
from stackone_lms import AsyncClient
from stackone_lms.export import export

async def main(url, key, target, limit, *accounts):
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    async with AsyncClient(key, base_url=url, rate_limit=None) as client:
        await export(client, "completions", target, accounts=accounts, format="jsonl", page_size=25, commit_seconds=0.0)

asyncio.run(main(*sys.argv[1:]))
"""


def limited(sandbox: Sandbox, target: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Run an export in a process whose files may not grow beyond `limit` bytes; 0: as they like."""
    return subprocess.run(
        [sys.executable, "-c", LIMITED, sandbox.url, sandbox.api_key, str(target), str(limit), *sandbox.account_ids],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_costs_no_record(sandbox: Sandbox, tmp_path: Path) -> None:
    """With room for a part only the export ends in an ExportError; with room again it ends exact."""
    target = tmp_path / "data"
    full = limited(sandbox, target, 300_000)
    assert full.returncode == 1
    assert "ExportError: writing failed: File too large; what was exported so far is kept" in full.stderr
    assert not any(account in full.stderr for account in sandbox.account_ids)
    kept = [path.stat().st_size for path in target.rglob("rows")]
    assert any(0 < size <= 300_000 for size in kept)
    before = sandbox.request_count
    again = limited(sandbox, target, 0)
    assert again.returncode == 0, again.stderr
    assert sandbox.request_count - before < before, "it goes on; it does not begin anew"
    assert records(target) == sent(sandbox, "completions")


class Failing:
    """Fails one call of an operation by the export: the `before`th; counts them, from whatever thread they come."""

    def __init__(self, original: Callable[..., Any], before: int, number: int) -> None:
        self._original, self._before, self._number = original, before, number
        self.calls = 0
        self._lock = threading.Lock()
        self.failed: list[Any] = []
        self.again: list[Any] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            self.calls += _by_export()
            now = self.calls == self._before and not self.failed and _by_export()
        if now:
            self.failed = [*arguments[:1]]
            raise OSError(self._number, os.strerror(self._number), "/secret/account-id")
        if self.failed and arguments[:1] == tuple(self.failed):
            self.again.append(arguments)
        return self._original(*arguments, **named)


def _by_export() -> bool:
    frame = inspect.currentframe()
    for _ in range(4):  # itself, `__call__`, perhaps pathlib, the export
        frame = frame.f_back if frame is not None else None
        if frame is not None and str(frame.f_globals.get("__name__")).startswith("stackone_lms.export."):
            return True
    return False


async def once(client: AsyncClient, sandbox: Sandbox, target: Path, **options: Any) -> None:
    result = await export(
        client, ["users", "completions"], target, accounts=sandbox.account_ids[:1], page_size=50, **options
    )
    assert result.ok, result


@pytest.mark.parametrize(
    ("operation", "number", "format"),
    [
        ("write", errno.ENOSPC, "jsonl"),
        ("write", errno.ENOSPC, "parquet"),
        ("write", errno.ENOSPC, "csv"),
        ("fsync", errno.EIO, "jsonl"),
        ("replace", errno.EIO, "jsonl"),
        ("ftruncate", errno.EIO, "jsonl"),
    ],
)
async def test_a_failing_operation_is_an_export_error_and_the_same_call_goes_on(
    operation: str,
    number: int,
    format: str,
    client: AsyncClient,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Early, late, or in between: the error tells what failed and no path, and the next call ends exact."""
    options: dict[str, Any] = {"format": format, "commit_interval": 0.0}
    counting = Failing(getattr(os, operation), 0, number)
    with monkeypatch.context() as patch:
        patch.setattr(os, operation, counting)
        await once(client, sandbox, tmp_path / "whole", **options)
    if operation == "ftruncate":
        assert counting.calls == 0, "nothing is cut back where nothing went wrong"
        return
    for part in (0.01, 0.35, 0.7, 1.0):
        target = tmp_path / f"part-{part}"
        failing = Failing(getattr(os, operation), max(1, int(counting.calls * part)), number)
        with monkeypatch.context() as patch:
            patch.setattr(os, operation, failing)
            with pytest.raises(ExportError, match=os.strerror(number)) as caught:
                await once(client, sandbox, target, **options)
                pytest.fail(f"{part}: {failing.calls} calls, {counting.calls} before")
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None
        await once(client, sandbox, target, **options)
        assert verify(target).ok
        assert verify(target).records == verify(tmp_path / "whole").records


@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_a_file_that_is_given_up_is_not_written_to_later(
    number: int, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer of Parquet flushes once more when it is torn down: that goes nowhere, without an error in Arrow."""
    tried: list[BaseException] = []
    write = AtomicFile.write

    def spy(self: AtomicFile, data: bytes) -> int:
        try:
            return write(self, data)
        except BaseException as error:
            tried.append(error)
            raise

    def fail(progress: ExportProgress) -> None:
        if progress.state == "writing":
            monkeypatch.setattr(os, "write", Failing(os.write, number, errno.ENOSPC))

    monkeypatch.setattr(AtomicFile, "write", spy)
    with pytest.raises(ExportError):
        await once(client, sandbox, tmp_path, format="parquet", progress=fail)
    gc.collect()
    assert len(tried) == 1


async def test_a_failed_fsync_is_never_tried_again(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may have dropped what it could not write: a second fsync would say that all is well."""
    failing = Failing(os.fsync, 12, errno.EIO)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(ExportError):
            await once(client, sandbox, tmp_path / "data", format="jsonl", commit_interval=0.0)
    assert failing.failed
    assert not failing.again


def test_a_file_whose_fsync_failed_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks again is told, and the system is not asked."""
    log = AppendFile(tmp_path / "rows")
    log.append(b"x\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Failing(os.fsync, 1, errno.EIO))
        with pytest.raises(ExportError, match="Input/output error"):
            log.sync()
    with pytest.raises(ExportError, match="an earlier write was not made durable"):
        log.sync()
    log.close()


async def test_short_writes_go_on(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that takes a part only is no error, and no loss."""
    whole = os.write

    def short(fd: int, data: Any) -> int:
        return whole(fd, data[: max(1, len(data) // 3)])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", short)
        await once(client, sandbox, tmp_path / "data", format="jsonl", incremental=False)
    account = sandbox.account_ids[0]
    expected = {key: some for key, some in sent(sandbox, "users", "completions").items() if key[1] == account}
    assert records(tmp_path / "data") == expected


async def test_files_can_be_read_by_their_owner_only(client: AsyncClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """Names and results of people are nobody else's business."""
    await once(client, sandbox, tmp_path / "data", format="jsonl")
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert files
    if sys.platform != "win32":
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


async def test_a_cancelled_export_leaves_nothing_behind_that_the_next_one_stumbles_over(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Ctrl-C, at any time: the lock is free at once, no line is torn, and the next call ends exact."""
    for delay in (0.0, 0.02, 0.05, 0.1, 0.2):
        task = asyncio.create_task(once(client, sandbox, tmp_path / "data", format="jsonl", commit_interval=0.0))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        lines(tmp_path / "data")
    await once(client, sandbox, tmp_path / "data", format="jsonl", commit_interval=0.0)
    assert verify(tmp_path / "data").ok


async def test_an_export_that_is_cancelled_while_it_writes_has_stopped_writing_when_it_ends(
    client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is told, and waited for: the lock is not given back while something still writes."""
    began, ended = threading.Event(), threading.Event()

    def write(self: Csv, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: Callable[[], None]) -> None:
        began.set()
        try:
            for _ in range(1000):
                check_cancelled()
                time.sleep(0.01)
        finally:
            time.sleep(0.05)
            ended.set()

    with monkeypatch.context() as patch:
        patch.setattr(Csv, "write", write)
        task = asyncio.create_task(once(client, sandbox, tmp_path, format="csv"))
        assert await asyncio.to_thread(began.wait, 30)
        start = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()
    assert time.monotonic() - start < 8, "it was not told"
    await once(client, sandbox, tmp_path, format="csv")
    assert verify(tmp_path).ok


UNSUPPORTED = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP]


@pytest.mark.skipif(sys.platform == "win32", reason="locks by flock")
@pytest.mark.parametrize("number", [*UNSUPPORTED, errno.EWOULDBLOCK, errno.EIO])
def test_only_a_lock_that_is_held_is_one(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks keeps nobody out; what else goes wrong is told as what it is."""

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    if number in UNSUPPORTED:
        with locked(tmp_path / "lock"):
            return
    expected = "another export is writing" if number == errno.EWOULDBLOCK else os.strerror(errno.EIO)
    with pytest.raises(ExportError, match=expected), locked(tmp_path / "lock"):
        raise AssertionError("not locked")


def test_a_folder_that_was_made_for_a_refusal_goes(tmp_path: Path) -> None:
    """One that was there stays, and so does one in which something was begun."""
    there, new, begun = tmp_path / "there", tmp_path / "new", tmp_path / "begun"
    there.mkdir()
    for folder in (there, new, begun):
        with pytest.raises(ExportError, match="refused"), locked(folder / "lock"):
            if folder == begun:
                (folder / "list").touch()
            raise ExportError("refused")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        *("begun", "begun/list", "begun/lock", "there", "there/lock"),
    ]


def test_a_lock_that_was_taken_away_before_it_was_held_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or two would hold one: that of the file which is gone, and that of the next."""
    path, take = tmp_path / "lock", storage._lock  # pyright: ignore[reportPrivateUsage]

    def taken_away(fd: int) -> bool:
        monkeypatch.setattr(storage, "_lock", take)
        path.unlink()
        return take(fd)

    monkeypatch.setattr(storage, "_lock", taken_away)
    with locked(path), pytest.raises(ExportError, match="another export is writing"), locked(path):
        pass


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EBADF, True), (errno.EIO, False)])
async def test_a_folder_that_cannot_be_made_durable(
    number: int, passes: bool, client: AsyncClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say so of every folder: that is no failure of the disk."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):  # noqa: PTH112 (a number of the process)
            raise OSError(number, os.strerror(number))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    if passes:
        assert (await export(client, "users", tmp_path / "data", accounts=sandbox.account_ids)).ok
        assert verify(tmp_path / "data").ok
    else:
        with pytest.raises(ExportError, match=os.strerror(number)):
            await export(client, "users", tmp_path / "data", accounts=sandbox.account_ids)


@pytest.mark.parametrize(("number", "passes"), [(errno.EPERM, True), (errno.EOPNOTSUPP, True), (errno.EIO, False)])
@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
async def test_a_database_whose_mode_cannot_be_set(
    kind: str,
    number: int,
    passes: bool,
    client: AsyncClient,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on drives that know of no owners: it is written all the same."""

    def chmod(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "chmod", chmod)
    target, accounts = f"{kind}:{tmp_path}/lms.db", sandbox.account_ids[:1]
    if passes:
        assert (await export(client, "users", target, accounts=accounts)).records == 20
    else:
        with pytest.raises(ExportError, match=os.strerror(number)):
            await export(client, "users", target, accounts=accounts)
