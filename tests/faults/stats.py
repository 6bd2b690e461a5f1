"""What a fault server counts."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

KEPT_HEADS = 32


@dataclass(eq=False, slots=True)
class Stats:
    """Counters of a whole server, of one base path, or of one id (or page) below it."""

    requests: int = 0
    connections: int = 0
    """Of the server: those accepted. Of a base or an id: those that carried a request of it."""
    hangups: int = 0
    """Times the client went away while an answer was due."""
    bytes_sent: int = 0
    """Bytes that the kernel took (the last 64 KiB perhaps not whole); the client need not have read them."""
    in_flight: int = 0
    in_flight_peak: int = 0
    commits: int = 0
    """Times that a POST, PUT, PATCH or DELETE took effect."""
    arrivals: list[float] = field(default_factory=list[float])
    """When each request was complete, by `time.monotonic()`."""
    heads: deque[bytes] = field(default_factory=lambda: deque[bytes](maxlen=KEPT_HEADS))
    """Request line and headers of the last requests, byte for byte."""
    suspicious: list[str] = field(default_factory=list[str])
    """Requests that a correct client never sends, each with the reason."""

    def arrive(self, head: bytes) -> None:
        self.requests += 1
        self.arrivals.append(time.monotonic())
        self.heads.append(head)
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
