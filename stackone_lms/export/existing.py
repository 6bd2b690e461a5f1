"""A target that was exported to, for those who read it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import NamedTuple

from ..errors import ExportError
from .options import account_ids
from .state.manifest import NAME, ListEntry, Manifest
from .state.store import load
from .stores.address import read_options, store_access
from .targets.base import Target
from .targets.choose import find_target


class Existing(NamedTuple):
    """What is known about a target."""

    target: Target
    manifest: Manifest
    """What was written when a run was over last."""
    listed: list[ListEntry]
    """The lists of the accounts asked for, by the manifest and the log."""
    held: list[ListEntry]
    """The same by the target's own word, where it has one."""
    accounts: tuple[str, ...] | None
    """The accounts asked for; None: all."""
    interruption: str | None
    """What to say if the last run has not tried each list yet."""


def read_existing(
    target: str | os.PathLike[str],
    accounts: str | Iterable[str] | None,
    store_options: Mapping[str, str] | None = None,
) -> Existing:
    """Read what is known about a target.

    Raises:
        InvalidArgumentError: It cannot be one, or the accounts cannot be.
        ExportError: There is no export, none of an account, or it cannot be read.
    """
    chosen = None if accounts is None else account_ids(accounts)
    found = find_target(
        target, store_access(target, store_options=read_options("store_options", store_options), write=False)
    )
    found.prepare()
    own = found.entries() if found.exists() else None
    state = load(found.files, found.work, found.format)
    if state is None and not own:
        raise ExportError(f"there is no {NAME}: this is not an export, or the export is not complete")
    listed = sorted(state or (), key=attrgetter("key"))
    held = listed if own is None else sorted(own, key=attrgetter("key"))
    known = {entry.account_id for entry in (*listed, *held)}
    if unknown := [account for account in chosen or () if account not in known]:
        raise ExportError(f"nothing of these accounts was exported there: {', '.join(unknown)}")
    if chosen is not None:
        listed, held = ([one for one in some if one.account_id in chosen] for some in (listed, held))
    about = state.manifest if state is not None else Manifest(sdk="", format=found.format)
    interruption = found.interruption()
    if state is not None and state.interrupted is not None:
        interruption = "the last export is not finished: the same command goes on"
    return Existing(found, about, listed, held, chosen, interruption)
