"""Checking an export against what is known about it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import msgspec

from .existing import read_existing


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


def verify(
    target: str | os.PathLike[str],
    *,
    accounts: str | Iterable[str] | None = None,
    store_options: Mapping[str, str] | None = None,
) -> Verification:
    """Check that a target holds what was exported to it, and nothing else.

    Of a folder or a store: presence, size, checksum and number of records of each file. Of a database: that each block
    can be read, and the number of records of each list. That an account failed is no difference: it is
    about what was written.

    Args:
        target: A folder, a place in a store, `duckdb:FILE` or `sqlite:FILE`.
        accounts: Whose data are checked. Default: those of all.
        store_options: Of a store; see `ExportOptions`.

    Raises:
        InvalidArgumentError: It is no target.
        ExportError: There is no export, none of one of the accounts, or it cannot be read.
    """
    found = read_existing(target, accounts, store_options)
    check = found.target.check(found.listed, found.accounts)
    unfinished = [found.interruption] if found.interruption is not None else []
    return Verification(check.files, check.records, unfinished + check.problems)
