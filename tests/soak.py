"""How much a test tries: a little in `make test`, all of it in `make soak`."""

from __future__ import annotations

import os
from typing import Any

import pytest

SOAK = bool(os.environ.get("STACKONE_SOAK"))
"""Whether this is `make soak`."""


def rounds(whole: int, short: int | None = None) -> int:
    """Return how many rounds, or examples, a test has: `whole` in `make soak`, else `short`, or a tenth."""
    return whole if SOAK else short or max(1, whole // 10)


def further(*cases: Any) -> list[Any]:
    """Return cases of a parametrized test, each a value or a tuple, that only `make thorough` tries."""
    values: list[tuple[Any, ...]] = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*each, marks=pytest.mark.thorough) for each in values]
