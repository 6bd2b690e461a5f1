"""Time limits, retries and the rate limit are checked when they are made."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from stackone_lms import RateLimit, RetryPolicy, StackOneError, Timeout
from stackone_lms.errors import ConfigurationError

timeout: Any = Timeout
retry_policy: Any = RetryPolicy
rate_limit: Any = RateLimit
"""The same, for values that the type checkers would not let through."""

NO_NUMBERS: list[Any] = [float("nan"), float("inf"), float("-inf"), -1, True, "5", b"5", [], 10**400, 1j]


def test_the_defaults_are_the_documented_ones() -> None:
    assert Timeout() == Timeout(connect=5.0, read=65.0, attempt=75.0, total=300.0)
    assert RetryPolicy() == RetryPolicy(
        attempts=3,
        base=0.1,
        cap=8.0,
        throttle_base=1.0,
        throttle_cap=20.0,
        max_retry_after=60.0,
        budget=500,
    )
    assert RateLimit(1000) == RateLimit(requests=1000, per=60.0, burst=None)


@pytest.mark.parametrize("name", Timeout.__struct_fields__)
def test_a_time_limit_is_a_positive_finite_number_or_none(name: str) -> None:
    for value in (None, 1, 0.001, 1e9):
        assert getattr(timeout(**{name: value}), name) == value
    for value in [0, 0.0, *NO_NUMBERS]:
        with pytest.raises(ConfigurationError, match=f"Timeout: {name} must be a finite number, more than 0"):
            timeout(**{name: value})


@pytest.mark.parametrize("name", ["base", "cap", "throttle_base", "throttle_cap", "max_retry_after"])
def test_a_pause_is_a_finite_number_from_zero(name: str) -> None:
    for value in (0, 0.0, 1, 1e9):
        assert getattr(retry_policy(**{name: value}), name) == value
    for value in [None, *NO_NUMBERS]:
        with pytest.raises(ConfigurationError, match=f"RetryPolicy: {name} must be a finite number, at least 0"):
            retry_policy(**{name: value})


@pytest.mark.parametrize(("name", "least"), [("attempts", 1), ("budget", 0)])
def test_counts_are_whole_numbers(name: str, least: int) -> None:
    assert getattr(retry_policy(**{name: least}), name) == least
    for value in [least - 1, 2.0, None, *NO_NUMBERS[:-2]]:
        with pytest.raises(ConfigurationError, match=f"RetryPolicy: {name} must be a whole number, {least} or more"):
            retry_policy(**{name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": 0},
        {"requests": 1.5},
        {"requests": True},
        {"requests": "10"},
        {"requests": 10, "per": 0},
        {"requests": 10, "per": float("inf")},
        {"requests": 10, "per": None},
        {"requests": 10, "burst": 0},
        {"requests": 10, "burst": 11},
        {"requests": 10, "burst": 2.5},
        {"requests": 10, "burst": True},
        {"requests": 10, "burst": "3"},
        {"requests": 10, "share": 0},
        {"requests": 10, "share": 1.01},
        {"requests": 10, "share": float("nan")},
        {"requests": 10, "share": True},
        {"requests": 10, "share": "1/2"},
        {"requests": 10, "share": 1 / 11},
        {"requests": 10, "share": 0.5, "burst": 6},
    ],
    ids=str,
)
def test_a_rate_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="RateLimit: "):
        rate_limit(**wrong)


def test_the_error_is_also_a_value_error_of_the_package() -> None:
    with pytest.raises(ValueError, match="Timeout") as caught:
        Timeout(read=-1)
    assert isinstance(caught.value, StackOneError)


def test_the_shares_of_processes_are_never_more_than_the_whole() -> None:
    for requests in (1, 2, 7, 49, 1000):
        for processes in range(1, requests + 1):
            own = RateLimit(requests, share=1 / processes).own_requests
            assert own == requests // processes


@pytest.mark.parametrize("value", [Timeout(total=None), RetryPolicy(attempts=5), RateLimit(5, per=1.0, burst=2)])
def test_options_are_values(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    assert hash(value) == hash(copy.copy(value))
    with pytest.raises(AttributeError):
        value.total = 5
