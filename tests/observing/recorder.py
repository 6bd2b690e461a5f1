"""An observer that writes down what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stackone_lms import (
    AttemptEnd,
    BulkEnd,
    BulkObserver,
    BulkProgress,
    BulkStart,
    CallEnd,
    CallObserver,
    CallStart,
    ExportEnd,
    ExportObserver,
    ExportStart,
    Observer,
    RetryScheduled,
    Stats,
    WaitEnd,
)


class Recorder(Observer):
    """Keeps all it is told in `events`: where, what, and the object that tells more.

    Args:
        bulk: Whether it looks at bulk fetches as a whole.
        headers: What it adds to every request.
    """

    def __init__(self, *, bulk: bool = True, headers: Mapping[str, str] | None = None) -> None:
        self.bulk, self.headers = bulk, headers
        self.events: list[tuple[str, str, Any]] = []
        self.stats: list[Callable[[], Stats | None]] = []

    def of(self, *kinds: str) -> list[Any]:
        """Return what was told of some kinds."""
        return [about for _, kind, about in self.events if kind in kinds]

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of all that was told, in order."""
        return [kind for _, kind, _ in self.events]

    def client_created(self, stats: Callable[[], Stats | None], /) -> None:
        self.stats.append(stats)

    def call_started(self, call: CallStart, /) -> RecordedCall:
        return RecordedCall(self, call.operation, call)

    def bulk_started(self, bulk: BulkStart, /) -> RecordedBulk | None:
        return RecordedBulk(self, bulk.operation, bulk) if self.bulk else None

    def export_started(self, export: ExportStart, /) -> RecordedExport | None:
        return RecordedExport(self, "export", export) if self.bulk else None


class Recorded:
    kind = ""

    def __init__(self, recorder: Recorder, name: str, start: Any) -> None:
        self.recorder, self.name = recorder, name
        self.note(f"{self.kind} started", start)

    def note(self, kind: str, about: Any) -> None:
        self.recorder.events.append((self.name, kind, about))


class RecordedCall(Recorded, CallObserver):
    kind = "call"

    def waited(self, wait: WaitEnd, /) -> None:
        self.note("waited", wait)

    def attempt_started(self, number: int, /) -> Mapping[str, str] | None:
        self.note("attempt started", number)
        return self.recorder.headers

    def attempt_ended(self, attempt: AttemptEnd, /) -> None:
        self.note("attempt ended", attempt)

    def retrying(self, retry: RetryScheduled, /) -> None:
        self.note("retrying", retry)

    def ended(self, call: CallEnd, /) -> None:
        self.note("call ended", call)


class RecordedBulk(Recorded, BulkObserver):
    kind = "bulk"

    def call_started(self, call: CallStart, /) -> RecordedCall:
        return RecordedCall(self.recorder, f"{self.name} > {call.operation}", call)

    def progressed(self, progress: BulkProgress, /) -> None:
        self.note("progressed", progress)

    def ended(self, end: BulkEnd, /) -> None:
        self.note("bulk ended", end)


class RecordedExport(Recorded, ExportObserver):
    kind = "export"

    def list_started(self, list: BulkStart, /) -> RecordedBulk:
        return RecordedBulk(self.recorder, list.operation, list)

    def ended(self, end: ExportEnd, /) -> None:
        self.note("export ended", end)
