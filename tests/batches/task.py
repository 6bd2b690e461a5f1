"""What a worker process does in these tests: it imports nothing but the package."""

from __future__ import annotations

import os

from stackone_lms.batches import Connect, Slice, batches


def read(connect: Connect, text: str) -> tuple[int, int, int, int]:
    """Read a list, as a task of an engine does; return process, client, rows, and requests of that client so far."""
    client = connect.client()
    rows = sum(len(batch.data) for batch in batches(client, Slice.from_json(text)))
    return os.getpid(), id(client), rows, client.stats().requests
