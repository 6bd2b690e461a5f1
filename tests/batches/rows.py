"""What was read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stackone_lms.batches import Batch


def ids_of(items: Iterable[Any]) -> list[str]:
    """Return the ids of the records of some batches; failures have none."""
    found: list[Any] = []
    for item in items:
        if isinstance(item, Batch):
            found += item.data.column("id").to_pylist()
    return found
