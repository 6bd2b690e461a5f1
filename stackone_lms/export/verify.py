"""Checking an export against its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..errors import ExportError
from .formats.registry import formats
from .state.manifest import NAME, WORK, read
from .state.storage import checksum
from .state.store import load


class Verification(msgspec.Struct, frozen=True):
    """What `verify` found."""

    files: int
    """Files checked."""
    records: int
    """Records in them."""
    problems: list[str]
    """What is wrong, a sentence each; empty if all is well."""

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.problems


def verify(folder: str | Path) -> Verification:
    """Check the files of an export against its manifest: presence, size, checksum, number of records; and strays.

    Args:
        folder: Where the export was written to.

    Raises:
        ExportError: There is no manifest, or it cannot be read.
    """
    folder = Path(folder)
    manifest, state = read(folder), load(folder, folder / WORK)
    if manifest is None or state is None:
        raise ExportError(f"there is no {NAME}: this is no export, or one that has not come to an end yet")
    known = formats().get(manifest.format)
    if known is None:
        raise ExportError(f"an export to {manifest.format} is a database; only folders can be checked")
    listed = [file for entry in state for file in entry.files]
    unfinished = state.interrupted is not None
    problems = ["the last export is not finished: the same command goes on"] if unfinished else []
    for file in listed:
        path = folder / file.path
        if not path.is_file():
            problems.append(f"{file.path}: missing")
            continue
        found, size = checksum(path)
        if (found, size) != (file.sha256, file.bytes):
            problems.append(f"{file.path}: not as it was written ({size} bytes, {file.bytes} expected)")
        elif (records := known.count(path)) != file.records:
            problems.append(f"{file.path}: {records} records, {file.records} expected")
    paths = {file.path for file in listed}
    problems += [f"{path}: not part of the export" for path in _strays(folder, known.suffix) if path not in paths]
    return Verification(len(listed), sum(file.records for file in listed), problems)


def _strays(folder: Path, suffix: str) -> Iterator[str]:
    """Yield what a reader may take for a part of the data set."""
    for path in sorted({*folder.rglob(f"*{suffix}"), *folder.glob("resource=*/**/*")}):
        if path.is_file() and WORK not in path.relative_to(folder).parts:
            yield path.relative_to(folder).as_posix()
