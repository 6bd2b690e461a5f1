"""Where an export goes: a folder of files, one for each account and resource, or a database."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ...errors import InvalidArgumentError
from ...models.base import Model, RawResponse
from ..formats.base import (
    Format,
    JsonLines,
    Parts,
    Pulse,
    Table,
    formats,
)
from ..lists import Resource
from ..records.keys import Survey, Tally, survey
from ..state.journal import Journal
from ..state.manifest import WORK, FileEntry, ListEntry
from ..state.storage import (
    Draft,
    checksum,
    link,
    make_folder,
    replace,
)

CALLS: Final = ".calls"
"""Added to the name of a resource: the provider calls behind it, with `raw`."""
_LONGEST: Final = 160
_PLAIN: Final = frozenset(f"{string.ascii_lowercase}{string.digits}-_.~".encode())


class Loaded(NamedTuple):
    """What became of the records of a list."""

    survey: Survey
    """What was found in them."""
    records: int
    """How many there are now."""
    files: list[FileEntry]
    """Where they are."""


class Listed(NamedTuple):
    """A list to be exported."""

    resource: Resource
    """Which."""
    model: type[Model]
    """What its records are."""
    account: str
    """Of which linked account."""

    @property
    def folder(self) -> Path:
        """Where it stands in a data set, relative to its folder."""
        return partition(self.resource.name, self.account)


class Target:
    """Where an export goes.

    Attributes:
        format: Its name: of the files, or of the database.
        root: The folder of the manifest.
        work: The folder of the journals.
    """

    format: str
    root: Path
    work: Path

    def prepare(self) -> None:
        """Raise ExportError if a package is missing that it needs."""

    def write(self, listed: Listed, journal: Journal, before: ListEntry | None, run: str, pulse: Pulse) -> Loaded:
        """Write what a journal holds, so that a crash leaves all of it or nothing; durable when it returns.

        Args:
            listed: The list.
            journal: Its records, all of them.
            before: What the target holds of it already, to be merged with; None: it is replaced.
            run: What tells this run from others.
            pulse: Called now and then; raises to end this.
        """
        raise NotImplementedError

    def place(self, files: Sequence[FileEntry]) -> None:
        """Put files that were written in their places; those that are there already stay."""

    def has(self, files: Sequence[FileEntry]) -> bool:
        """Return whether files that were written are still there, in their places or not."""
        return True


def partition(resource: str, account: str) -> Path:
    """Return the folder of a list in a data set, named as Hive names partitions; ids are percent-encoded.

    Capitals and a last dot are too: some file systems do not tell `A` from `a`, or drop the dot.
    """
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in account.encode())
    if name.endswith("."):
        name = f"{name[:-1]}%2E"
    if len(name) > _LONGEST:
        name = f"{re.sub('%..', '', name)[:64]}-{hashlib.sha256(account.encode()).hexdigest()}"
    return Path(f"resource={resource}", f"account={name}")


class Folder(Target):
    """A folder with one file for each account and resource, partitioned as `resource=.../account=...`."""

    def __init__(self, path: Path, format: str) -> None:
        known = formats()
        if format not in known:
            raise InvalidArgumentError(f"format {format!r:.40} is unknown; there are: {', '.join(known)}")
        self._form: Format = known[format]
        self.format, self.root, self.work = format, path, path / WORK

    def prepare(self) -> None:
        """Raise ExportError if a package is missing that it needs."""
        self._form.prepare()

    def write(self, listed: Listed, journal: Journal, before: ListEntry | None, run: str, pulse: Pulse) -> Loaded:
        """Write the files beside their places."""
        table = Table(listed.model, listed.account)
        found, files = self._write(table, listed.folder, journal.rows_path, before, pulse)
        if journal.calls is not None:
            calls = partition(listed.resource.name + CALLS, listed.account)
            files += self._write(Table(RawResponse, listed.account), calls, journal.calls_path, before, pulse)[1]
        return Loaded(found, files[0].records, files)

    def _write(
        self, table: Table, folder: Path, spool: Path, before: ListEntry | None, pulse: Pulse
    ) -> tuple[Survey, list[FileEntry]]:
        final = folder / f"part-0{self._form.suffix}"
        base = None
        if before is not None and any(file.path == final.as_posix() for file in before.files):
            base = self.root / final
        sources, draft = self._form.sources(table, base, spool), self._draft(final)
        written = None
        if base is None and self._form.notes_keys:
            # Nearly always no record comes twice: then one reading is enough.
            tally = Tally()
            written = self._make(draft, table, Parts(None, spool, frozenset(), tally), pulse)
            found = tally.survey(sources)
        else:
            found = survey(sources)
        if written is None or found.superseded:
            written = self._make(draft, table, Parts(base, spool, found.superseded), pulse)
        sha256, size = written
        records = found.total - len(found.superseded)
        return found, [FileEntry(path=final.as_posix(), bytes=size, records=records, sha256=sha256)]

    def _draft(self, final: Path) -> Path:
        # Not named as what it will be: a reader may look into every folder for `*.parquet`.
        return self.work / "drafts" / final.with_name(f"{final.name}.partial")

    def _make(self, path: Path, table: Table, parts: Parts, pulse: Pulse) -> tuple[str, int]:
        if isinstance(self._form, JsonLines) and parts.base is None and not parts.superseded:
            # The spool is what the file would be: it gets a second name.
            make_folder(path.parent)
            if link(parts.spool, path):
                return checksum(path)
        draft = Draft(path)
        try:
            self._form.write(draft, table, parts, pulse)
            draft.settle()
        except BaseException:
            draft.discard()
            raise
        return draft.sha256, draft.size

    def place(self, files: Sequence[FileEntry]) -> None:
        """Put files that were written in their places; those that are there already stay."""
        for file in files:
            draft = self._draft(Path(file.path))
            if draft.exists():
                replace(draft, self.root / file.path)

    def has(self, files: Sequence[FileEntry]) -> bool:
        """Return whether files that were written are still there, in their places or not."""
        return all(_has(self._draft(Path(f.path)), f) or _has(self.root / f.path, f) for f in files)


def _has(path: Path, file: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes
