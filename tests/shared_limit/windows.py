"""Counting requests in windows of time."""

from __future__ import annotations


def most_in_any(times: list[float], seconds: float) -> int:
    """The most that any window of so many seconds holds, wherever it begins."""
    times = sorted(times)
    first = most = 0
    for last, moment in enumerate(times):
        while times[first] <= moment - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
