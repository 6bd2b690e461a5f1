"""A place in an object store as a target: the files of a folder, journals on this machine."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from ...errors import ExportError
from ..state.files import WORK
from ..state.manifest import NAME, RUN
from ..state.storage import wrap_os_errors
from ..state.store import DRAFTS, LISTS, LOG, clear, partition
from ..stores.address import Address, StoreAccess
from ..stores.files import ObjectFiles
from ..stores.lock import StoreLock
from ..stores.objects import Objects
from .base import FAILED_ACCOUNTS
from .folder import Folder


class Store(Folder):
    """A place in an object store, with the files that a folder has.

    Args:
        address: The place.
        access: How it is reached, and the folder for the journals; without one it can only be read.
        format: The form of the files.
    """

    remote = True
    files: ObjectFiles

    def __init__(self, address: Address, access: StoreAccess, format: str) -> None:
        # Whoever only reads has no journals: that folder is never made.
        self._own = access.work or Path(tempfile.gettempdir(), f"stackone-lms-{uuid.uuid4().hex}")
        super().__init__(self._own, format)
        self.work = self._own / WORK
        self.address, self._access = address, access
        self.objects = Objects(address, access.options)
        self._lock = StoreLock(self.objects, self.work, self._forget_work)
        scratch = None if access.work is None else self.work / DRAFTS
        self.files = ObjectFiles(self.objects, self._lock, scratch)

    def in_form(self, format: str) -> Store:
        """Return the same place with files of another form."""
        return Store(self.address, self._access, format)

    @property
    def failed_accounts_path(self) -> Path:
        """Where the ids of failed accounts stand: on this machine, to be given back as a file of accounts."""
        return self._own / FAILED_ACCOUNTS

    def prepare(self) -> None:
        """Raise if a package is missing that it needs, or an option is wrong."""
        self.objects.prepare()
        super().prepare()

    def check_access(self) -> None:
        """Ask the store for the first names, so that wrong credentials and a missing bucket are told at once."""
        self.objects.check_access()

    def acquire(self) -> None:
        """Take the lock; the work folder is locked already."""
        self._lock.acquire(break_lock=self._access.break_lock)
        try:
            self.files.look()
            if any("_delta_log" in name.split("/") for name in self.files.names()):
                raise ExportError(f"{self.address} holds Delta tables: give the files a prefix of their own")
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back, unless an export is not finished: then only the same work folder may go on."""
        if not (self.work / RUN).exists():
            self._lock.release()

    def _forget_work(self) -> None:
        for name in (DRAFTS, LISTS):
            clear(self.work / name)
        for name in (RUN, LOG):
            with wrap_os_errors("clearing away what another export has gone past"):
                (self.work / name).unlink(missing_ok=True)

    def interruption(self) -> str | None:
        """Say who is writing, or was broken off."""
        holder = self._lock.holder()
        if holder is None:
            return None
        return f"an export is under way, or was broken off ({holder}): what it has replaced differs from the manifest"

    def exists(self) -> bool:
        """Tell whether an export was written there, or begun in this work folder."""
        return self.objects.version(NAME) is not None or (self.work / RUN).exists()

    def remove(self, accounts: Sequence[str], *, erase: bool) -> None:
        """Delete all objects of some accounts; but for erasing, that is left to the manifest, which names them last."""
        if erase:
            self.files.erase({partition("", account).name for account in accounts})
