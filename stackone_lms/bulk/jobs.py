"""The ids of a bulk fetch: what became of each, and which came before."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..calls.outcomes import Outcome
from ..models.base import Answer

MAX_REMEMBERED, MAX_REMEMBERED_BYTES = 1024, 8 * 1024 * 1024
"""Finished ids, and bytes of their answers, that are remembered for duplicates that follow."""


class Job:
    """One id to fetch.

    Attributes:
        number: Its place among the ids.
        copies: How often the caller asked for it.
        outcome: What became of it.
        failed_at: When its first try failed, None if it did not.
        awaits_second_try: Whether it waits for its second try.
        size: Bytes that its outcome keeps.
    """

    __slots__ = ("awaits_second_try", "copies", "failed_at", "id", "number", "outcome", "size")

    def __init__(self, id: str, number: int) -> None:
        self.id, self.number = id, number
        self.copies = 1
        self.outcome: Outcome[Any] | None = None
        self.failed_at: float | None = None
        self.awaits_second_try = False
        self.size = 0


class RecentJobs:
    """The jobs under way and the last of those finished, so that an id that comes again is not fetched again."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._finished: deque[Job] = deque()
        self._bytes = 0

    def find(self, id: Any) -> Job | None:
        """Return the job of an id, if it is remembered."""
        # Nothing but a string can be fetched, and other things may not even hash.
        return self._jobs.get(id) if isinstance(id, str) else None

    def add(self, job: Job) -> None:
        """Remember a job at least until it is finished."""
        if isinstance(job.id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            self._jobs[job.id] = job

    def finish(self, job: Job) -> None:
        """Remember a finished job until newer ones take its place."""
        if not isinstance(job.id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            return
        result: Any = job.outcome and job.outcome.result
        job.size = len(result.body) if isinstance(result, Answer) else 0
        self._bytes += job.size
        finished = self._finished
        finished.append(job)
        while len(finished) > MAX_REMEMBERED or self._bytes > MAX_REMEMBERED_BYTES:
            old = finished.popleft()
            self._bytes -= old.size
            if self._jobs.get(old.id) is old:
                del self._jobs[old.id]
