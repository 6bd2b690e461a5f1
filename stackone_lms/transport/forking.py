"""Which process this is, without asking the system every time as `os.getpid` does."""

from __future__ import annotations

import os

_pid = os.getpid()


def process() -> int:
    """Return the id of this process."""
    return _pid


def _in_child() -> None:
    global _pid  # noqa: PLW0603 (one number for the whole process)
    _pid = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
