"""How much a test tries: a little in `make test`, all of it in `make soak`."""

from __future__ import annotations

import os

SOAK = bool(os.environ.get("STACKONE_SOAK"))
"""Whether this is `make soak`."""


def rounds(whole: int, short: int | None = None) -> int:
    """Return how many rounds, or examples, a test has: `whole` in `make soak`, else `short`, or a tenth."""
    return whole if SOAK else short or max(1, whole // 10)
