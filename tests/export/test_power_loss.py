"""The power fails at every single operation on the disk in turn: what is left always leads to the same result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ExportError
from stackone_lms.export import ExportProgress, export, verify
from stackone_lms.sandbox import Sandbox

from .datasets import records
from .powerloss import Disk, PowerLoss

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds files by their numbers in /proc")


class Case:
    """An export to one folder of one account."""

    def __init__(self, sandbox: Sandbox, client: AsyncClient, folder: Path, **options: Any) -> None:
        self._sandbox, self._client, self._folder, self._options = sandbox, client, folder, options

    async def export(self, target: Path, **options: Any) -> None:
        result = await export(
            self._client,
            "courses",
            target,
            accounts=self._sandbox.account_ids[:1],
            format="jsonl",
            page_size=4,
            commit_interval=0.0,
            **options,
            raw=True,  # provider calls have no id: nothing but the journal keeps them from coming twice
        )
        assert result.ok

    async def crashes(self, target: Path, at: int, **options: Any) -> tuple[bool, Path]:
        """Lose the power at an operation; return whether that happened, and where the survivors are."""
        disk = Disk(target.parent, at)
        with pytest.MonkeyPatch.context() as patch:
            disk.watch(patch)
            try:
                await self.export(target, **options)
                crashed = False
            except PowerLoss:
                crashed = True
        left = self._folder / f"left-{at}"
        disk.survivors(left)
        return crashed, left / target.name


async def every_crash(case: Case, before: Path, *, incremental: bool = False, restart: bool = False) -> int:
    """Crash at each operation in turn; return how many there are."""
    undisturbed = before.with_name("undisturbed")
    _copy(before, undisturbed)
    await case.export(undisturbed / "data", incremental=incremental, restart=restart)
    expected = records(undisturbed / "data")
    for at in range(1, 1000):
        target = before.with_name(f"run-{at}") / "data"
        _copy(before, target.parent)
        crashed, left = await case.crashes(target, at, incremental=incremental, restart=restart)
        if not crashed:
            assert records(left) == expected, "what is complete has to be durable"
            return at - 1
        if not ended(left, since=before / "data"):
            await case.export(left, incremental=incremental)
        assert records(left) == expected, f"after a crash at operation {at}"
        assert verify(left).ok, verify(left).problems
    raise AssertionError("it never ended")


def ended(target: Path, *, since: Path) -> bool:
    """Whether the run came to its end before the crash; another incremental one would add its provider calls."""
    found, before = target / "_manifest.json", since / "_manifest.json"
    if (
        (target / ".export" / "run.json").exists()
        or not found.exists()
        or not json.loads(found.read_bytes())["complete"]
    ):
        return False
    return not before.exists() or found.read_bytes() != before.read_bytes()


def _copy(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.rglob("*"):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())


async def test_a_first_export(sandbox: Sandbox, client: AsyncClient, tmp_path: Path) -> None:
    """Whatever the operation at which the power fails, the same command ends with every record once."""
    (tmp_path / "before").mkdir()
    case = Case(sandbox, client, tmp_path)
    operations = await every_crash(case, tmp_path / "before", incremental=False)
    assert operations > 30


@pytest.mark.thorough
async def test_an_incremental_export(sandbox: Sandbox, client: AsyncClient, tmp_path: Path) -> None:
    """The same while changes are merged into files that are there: neither the old nor the new records get lost."""
    case = Case(sandbox, client, tmp_path)
    await case.export(tmp_path / "before" / "data")
    operations = await every_crash(case, tmp_path / "before", incremental=True)
    assert operations > 30


@pytest.mark.thorough
async def test_giving_up_an_unfinished_run(sandbox: Sandbox, client: AsyncClient, tmp_path: Path) -> None:
    """Whether or not the old run survives, what the same command makes then is whole: of the one or of the other."""
    case = Case(sandbox, client, tmp_path)
    data = tmp_path / "before" / "data"

    def fail(progress: ExportProgress) -> None:
        if progress.state == "done":
            raise ExportError("the end")

    with pytest.raises(ExportError, match="the end"):
        await case.export(data, progress=fail)
    assert await every_crash(case, tmp_path / "before", restart=True) > 30
