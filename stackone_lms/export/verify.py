"""Checking an export against what is known about it."""

from __future__ import annotations

import os
from collections.abc import Iterable

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


def verify(target: str | os.PathLike[str], *, accounts: str | Iterable[str] | None = None) -> Verification:
    """Check that a target holds what was exported to it, and nothing else.

    Of a folder: presence, size, checksum and number of records of each file. Of a database: that each block can be
    read, and the number of records of each list. That an account failed is no difference: it is about what was written.

    Args:
        target: A folder, `duckdb:FILE` or `sqlite:FILE`.
        accounts: Whose data are checked. Default: those of all.

    Raises:
        InvalidArgumentError: It is no target.
        ExportError: There is no export, none of one of the accounts, or it cannot be read.
    """
    found = read_existing(target, accounts)
    check = found.target.check(found.listed, found.accounts)
    unfinished = ["the last export is not finished: the same command goes on"] if found.interrupted else []
    return Verification(check.files, check.records, unfinished + check.problems)
