"""Request limits: so many per so many seconds."""

import math
from collections import deque
from collections.abc import Callable
from time import monotonic

Limit = tuple[int, float]
"""Requests, and the seconds in which they are allowed."""


class Window:
    """Allows `limit[0]` requests in any `limit[1]` seconds. Refused ones do not count."""

    def __init__(self, limit: Limit, timer: Callable[[], float] = monotonic) -> None:
        requests, seconds = limit
        if requests < 1 or not 0 < seconds < math.inf:
            raise ValueError(f"a limit is (requests, seconds), both above 0, not {limit!r}")
        self._requests = requests
        self._seconds = seconds
        self._timer = timer
        self._taken: deque[float] = deque()

    def take(self) -> int | None:
        """Count a request and return None; or, if it is one too many, the whole seconds until one fits."""
        now = self._timer()
        taken = self._taken
        while taken and now - taken[0] >= self._seconds:
            taken.popleft()
        if len(taken) < self._requests:
            taken.append(now)
            return None
        return max(1, math.ceil(taken[0] + self._seconds - now))
