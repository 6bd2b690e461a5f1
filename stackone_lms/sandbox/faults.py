"""Failures on purpose: at random, or the next requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypedDict

from .problems import Problem, provider_error


class Faults(TypedDict, total=False):
    """Random failures: `{"status": 503, "rate": 0.01}`."""

    status: int | Sequence[int]
    """The status to answer, or several to draw from; 503 by default."""
    rate: float
    """Share of the requests that fail, 0 to 1; 0.01 by default."""
    retry_after: int | None
    """Seconds for a `Retry-After` header; none by default."""


@dataclass(slots=True)
class Planned:
    """A failure that was asked for: the next `times` requests that match."""

    problem: Problem
    times: int
    path_contains: str | None
    account_id: str | None
    after: bool

    def concerns(self, path: str, account_id: str | None) -> bool:
        """Tell whether a request is one of them."""
        return (self.path_contains is None or self.path_contains in path) and self.account_id in {None, account_id}


def problem(status: int, retry_after: int | None = None, error_code: str | None = None) -> Problem:
    """Make the answer of a failure."""
    if not 400 <= status <= 599:
        raise ValueError(f"a failure has a status from 400 to 599, not {status}")
    told = provider_error(503, "https://provider.example/", "the provider is not available")
    return Problem(
        status,
        retry_after=retry_after,
        error_code=error_code,
        provider_errors=[told] if status == 502 else None,
    )


class FaultPlan:
    """Decides which requests fail; equal seeds give equal decisions in the order of arrival."""

    def __init__(self, faults: Faults | None, seed: int) -> None:
        faults = {"rate": 0.0} if faults is None else faults
        status = faults.get("status", 503)
        statuses = [status] if isinstance(status, int) else list(status)
        self._random = [problem(one, faults.get("retry_after")) for one in statuses]
        self._rate = faults.get("rate", 0.01)
        if not self._random or not 0 <= self._rate <= 1:
            raise ValueError("faults need a status, and a rate from 0 to 1")
        self._rng = Random(seed)
        self._planned: list[Planned] = []

    def plan(self, planned: Planned) -> None:
        """Add a failure; those added first are used first."""
        self._planned.append(planned)

    def draw(self, path: str, account_id: str | None) -> tuple[Problem, bool] | None:
        """Return the failure for a request to `path` for an account, and whether the request is carried out first."""
        for planned in self._planned:
            if planned.concerns(path, account_id):
                planned.times -= 1
                if planned.times <= 0:
                    self._planned.remove(planned)
                return planned.problem, planned.after
        if self._rate and self._rng.random() < self._rate:
            return self._random[int(self._rng.random() * len(self._random))], False
        return None
