"""What is known about every list of a target: the manifest, and the log of the lists that a run has ended since.

A run appends a line for each list that it has tried to its end; the manifest is written once, when the run is over.
A process that ends before leaves the note of the run and the log: the next one puts them together.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import string
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from ...errors import printable
from . import manifest
from .files import Files
from .journal import checked_bodies, checked_line
from .manifest import ListEntry, Manifest
from .storage import AppendFile, make_folder, partial_of, sync_folder, wrap_os_errors, write_whole

Key: TypeAlias = tuple[str, str]
"""Resource and account."""

LOG: Final = "log"
LISTS: Final = "lists"
DRAFTS: Final = "drafts"


_LONGEST: Final = 160
_PLAIN: Final = frozenset(f"{string.ascii_lowercase}{string.digits}-_.~".encode())
_JOINED: Final = "+"


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


def joined(path: Path) -> str:
    """Return the parts of a path as one name: what stands there in the end has it while it is made."""
    return _JOINED.join(path.parts)


class RunNote(msgspec.Struct, frozen=True):
    """A run that has begun, and is not over."""

    run: str
    started: str
    """When it began, as the API writes moments."""
    version: int = 2


class _Logged(msgspec.Struct, frozen=True):
    """A list that a run has tried to its end."""

    run: str
    entry: ListEntry


_decode = msgspec.json.Decoder(_Logged).decode


class StateStore:
    """The states of all lists of a target.

    Args:
        files: Those of the target.
        work: The folder of the journals.
        format: What the target holds.
        sdk: Version of the package.

    Attributes:
        manifest: What the manifest said, with `lists` as they are known now only after `finish`.
        interrupted: The run that an earlier process left unfinished.
        ended: The lists that it had tried to their end.
        logged: What was known last about the lists that were tried since the manifest was written.
    """

    def __init__(self, files: Files, work: Path, *, format: str, sdk: str) -> None:
        self._files, self._work = files, work
        self.manifest = manifest.read(files) or Manifest(sdk=sdk, format=format)
        self._entries = {entry.key: entry for entry in self.manifest.lists}
        self.interrupted = _read_note(work / manifest.RUN)
        self.ended: dict[Key, ListEntry] = {}
        self.logged: dict[Key, ListEntry] = {}
        self._read_log()
        self._log: AppendFile | None = None
        self._lock = threading.Lock()
        self._run = ""

    def _read_log(self) -> None:
        with wrap_os_errors("reading the state of an interrupted export"), suppress(FileNotFoundError):
            bodies, _ = checked_bodies((self._work / LOG).read_bytes())
            for body in bodies:
                with suppress(msgspec.DecodeError):
                    logged = _decode(body)
                    key = logged.entry.key
                    self._entries[key] = self.logged[key] = logged.entry
                    if self.interrupted is not None and logged.run == self.interrupted.run:
                        self.ended[key] = logged.entry

    def __iter__(self) -> Iterator[ListEntry]:
        return iter(self._entries.values())

    def find(self, key: Key) -> ListEntry | None:
        """Return what is known about a list."""
        return self._entries.get(key)

    def adopt(self, held_entries: Iterable[ListEntry]) -> None:
        """Take the word of the target for what it holds: its state lives in it, and may be older or newer than ours."""
        entries = {entry.key: entry for entry in held_entries}
        for key, entry in self._entries.items():
            held = entries.get(key)
            empty = ListEntry(resource=entry.resource, account_id=entry.account_id)
            self._entries[key] = msgspec.structs.replace(held or empty, error=entry.error, tried=entry.tried)
        for key, held in entries.items():
            self._entries.setdefault(key, held)
        run = self.interrupted.run if self.interrupted is not None else None
        self.ended = {key: held for key, held in entries.items() if held.run == run}

    def begin(self, note: RunNote, *, keep_log: bool) -> None:
        """Note durably that a run begins, or goes on; what an older one left is put into the manifest before."""
        self._run = note.run
        if not keep_log:
            if (self._work / LOG).exists():
                self._write_manifest()
                with wrap_os_errors("clearing away the log of an older export"):
                    (self._work / LOG).unlink()
            self.ended = {}
        make_folder(self._work)
        if note != self.interrupted:
            write_whole(self._work / manifest.RUN, msgspec.json.encode(note))
        self._log = AppendFile(self._work / LOG)
        with wrap_os_errors("reading the state of an interrupted export"):
            _, good = checked_bodies((self._work / LOG).read_bytes())
        self._log.cut(good)
        sync_folder(self._work)

    def put(self, *entries: ListEntry) -> None:
        """Set what is known about lists, durably."""
        lines = b"".join(checked_line(msgspec.json.encode(_Logged(self._run, entry))) for entry in entries)
        with self._lock:
            self._entries |= {entry.key: entry for entry in entries}
            if self._log is not None:
                self._log.append(lines)
                self._log.sync()

    def forget(self, accounts: Collection[str]) -> None:
        """Know nothing of some accounts any more; it is durable after `finish`."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.account_id not in accounts}

    def finish(self, *, complete: bool, parameters: dict[str, Any], started: str, finished: str, sdk: str) -> None:
        """Note durably that the run is over."""
        found = self.manifest
        found.sdk, found.complete, found.parameters = sdk, complete, parameters
        found.started, found.finished = started, finished
        self._write_manifest()
        self.close()
        for name in (manifest.RUN, LOG):
            with wrap_os_errors("clearing away the state of this export"):
                (self._work / name).unlink(missing_ok=True)
            sync_folder(self._work)

    def _write_manifest(self) -> None:
        self.manifest.lists = [self._entries[key] for key in sorted(self._entries)]
        manifest.write(self._files, self.manifest)

    def close(self) -> None:
        """Close the log."""
        log, self._log = self._log, None
        if log is not None:
            log.close()


def load(files: Files, work: Path, format: str) -> StateStore | None:
    """Return what is known about a target without changing anything; None: it is no export.

    Raises:
        ExportError: The manifest cannot be read.
    """
    found = manifest.read(files)
    if found is None and not (work / LOG).exists():
        return None
    return StateStore(files, work, format=found.format if found is not None else format, sdk="")


def erase(files: Files, work: Path, accounts: Collection[str]) -> None:
    """Take some accounts out of the manifest and the log, durably; whoever does so holds the lock of the target.

    Raises:
        ExportError: The manifest cannot be read, or one of them not be written.
    """
    log = work / LOG
    if log.exists():
        with wrap_os_errors("reading the state of an interrupted export"):
            bodies, _ = checked_bodies(log.read_bytes())
        kept = [body for body in bodies if (entry := _entry_of(body)) is not None and entry.account_id not in accounts]
        write_whole(log, b"".join(map(checked_line, kept)))
    found = manifest.read(files)
    if found is not None:
        found.lists = [entry for entry in found.lists if entry.account_id not in accounts]
        found.parameters["accounts"] = [id for id in found.parameters.get("accounts", ()) if id not in accounts]
        manifest.write(files, found)


def _entry_of(body: bytes) -> ListEntry | None:
    try:
        return _decode(body).entry
    except (ValueError, msgspec.DecodeError):
        return None


def clear_lists(work: Path, accounts: Iterable[str]) -> None:
    """Remove what is kept of lists under way of some accounts: their journals, and files not in their places yet."""
    for account in accounts:
        ending = partition("", account).name
        for path in sorted(work.glob("*/*")):
            if ending not in path.name.split(_JOINED):
                continue
            with wrap_os_errors("clearing away the state of an interrupted export"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def name_failed_accounts(path: Path, entries: Iterable[ListEntry]) -> None:
    """Write down which accounts failed last, in the form of a file of accounts."""
    failed: dict[str, list[str]] = {}
    for entry in entries:
        if entry.error is not None or entry.skipped_users:
            reason = entry.error.type if entry.error is not None else f"{len(entry.skipped_users)} users"
            name = [] if entry.account_name is None else [printable(entry.account_name)]
            failed.setdefault(entry.account_id, name).append(f"{entry.resource}: {reason}")
    if failed:
        write_whole(path, "".join(f"{_cell(id)}  # {', '.join(why)}\n" for id, why in failed.items()).encode())
        return
    with wrap_os_errors("removing an old file"):
        for old in (path, partial_of(path)):
            old.unlink(missing_ok=True)


def _cell(id: str) -> str:
    """Return an id as a file of accounts takes it: it may hold what has a meaning there."""
    return '"' + id.replace('"', '""') + '"' if any(mark in id for mark in ',"#') else id


def _read_note(path: Path) -> RunNote | None:
    # A note that cannot be read is none: then every list is begun anew.
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunNote)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def clear(path: Path) -> None:
    """Remove a folder with all that is in it."""
    with wrap_os_errors("clearing away what is not needed any more"), suppress(FileNotFoundError):
        shutil.rmtree(path)
