"""Retry decisions: what `Retry-After` means, how long to wait, what retries may cost."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stackone_lms.engine.retry import (
    COST,
    COST_THROTTLED,
    Budget,
    backoff,
    parse_retry_after,
)
from stackone_lms.options import RetryPolicy

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EPOCH = NOW.timestamp()


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("2", 2.0),
        ("60", 60.0),
        ("0.5", 0.5),
        ("0.493", 0.493),
        ("007", 7.0),
        (" 60\t", 60.0),
        ("315360000", 315360000.0),
        ("9999999999", 9999999999.0),
        (http_date(NOW + timedelta(seconds=10)), 10.0),
        (http_date(NOW - timedelta(days=1)), 0.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 14:00:30 +0200", 30.0),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("Sat, 01 Jan 0000 00:00:00 GMT", 0.0),
    ],
)
def test_what_the_api_and_the_rfc_send_is_read(value: str, seconds: float) -> None:
    assert parse_retry_after(value, now=EPOCH) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        " ",
        "soon",
        "-5",
        "-0",
        "+5",
        "nan",
        "inf",
        "Infinity",
        "1e3",
        "1_0",
        "0x10",
        "1,5",
        "1.",
        ".5",
        "1.5.5",
        "1 2",
        "60s",
        "1m0s",
        "60, 60",
        "\uff11\uff10",  # fullwidth digits
        "\u0661",  # an Arabic digit
        "\u00b2",  # superscript two
        "60\n",
        "60\x00",
        "\u00a060",
        "12345678901",
        "9" * 5000,
        "1." + "9" * 5000,
        "Sun, 99 Mar 2026 12:00:00 GMT",
        "Sun, 01 Mar 2026 25:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:60 GMT",
        "Sun, 01 Xyz 2026 12:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:00 +9999",
        "Sun, 01 Mar 99999 12:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:00 GMT" + " " * 5000 + "x",
        "A" * 29,
        ":" * 30,
        "2026-03-01T12:00:30.000Z ",
    ],
    ids=lambda value: repr(value)[:24],
)
def test_everything_else_means_nothing_and_breaks_nothing(value: str | None) -> None:
    assert parse_retry_after(value, now=EPOCH) is None


@pytest.mark.parametrize("skew", [-3600, 0, 3600, 10 * 365 * 86400])
def test_a_date_is_measured_against_the_answers_own_date(skew: float) -> None:
    """So that a server whose clock is wrong still gets the two seconds it asked for."""
    server = NOW + timedelta(seconds=skew)
    value, date = http_date(server + timedelta(seconds=2)), http_date(server)
    assert parse_retry_after(value, date, now=EPOCH) == 2.0


@pytest.mark.parametrize("date", [None, "", "garbage", "9" * 29, "\u2028" * 29, "Sun, 99 Mar 2026 12:00:00 GMT"])
def test_without_a_usable_date_the_local_clock_counts(date: str | None) -> None:
    assert parse_retry_after(http_date(NOW + timedelta(seconds=7)), date, now=EPOCH) == 7.0


@given(st.text(max_size=60), st.none() | st.text(max_size=60))
def test_no_text_gives_anything_but_finite_seconds(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, date, now=EPOCH)
    assert seconds is None or (math.isfinite(seconds) and seconds >= 0.0)


@given(
    st.integers(min_value=1, max_value=5000),
    st.booleans(),
    st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_pauses_are_full_jitter_below_a_doubling_bound(retry: int, throttled: bool, random: float) -> None:
    policy = RetryPolicy(base=0.1, cap=8.0, throttle_base=1.0, throttle_cap=20.0)
    base, cap = (1.0, 20.0) if throttled else (0.1, 8.0)
    bound = cap if retry > 30 else min(cap, base * 2 ** (retry - 1))
    assert backoff(policy, retry, throttled=throttled, random=lambda: random) == pytest.approx(random * bound)


def test_the_bounds_grow_from_the_base_to_the_cap() -> None:
    policy = RetryPolicy(base=0.5, cap=3.0)
    bounds = [backoff(policy, retry, throttled=False, random=lambda: 1.0) for retry in range(1, 6)]
    assert bounds == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_base_of_zero_means_no_pause() -> None:
    assert backoff(RetryPolicy(base=0), 3, throttled=False, random=lambda: 1.0) == 0.0


def test_a_new_bucket_pays_for_35_retries_and_then_for_none() -> None:
    budget = Budget(500)
    assert [budget.spend(throttled=False) for _ in range(36)] == [COST] * 35 + [0]
    assert (budget.spend(throttled=True), budget.left) == (COST_THROTTLED, 5)
    assert (budget.spend(throttled=True), budget.spend(throttled=True)) == (COST_THROTTLED, 0)


def test_an_empty_bucket_never_pays() -> None:
    assert Budget(0).spend(throttled=True) == 0


class BudgetMachine(RuleBasedStateMachine):
    """Any order of retries and successes leaves the bucket between empty and full, and creates no tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 60
        self.budget = Budget(self.size)
        self.expected = self.size
        self.outstanding: list[int] = []

    @rule(throttled=st.booleans())
    def retry(self, throttled: bool) -> None:
        cost = COST_THROTTLED if throttled else COST
        spent = self.budget.spend(throttled=throttled)
        assert spent == (cost if self.expected >= cost else 0)
        self.expected -= spent
        if spent:
            self.outstanding.append(spent)

    @precondition(lambda self: bool(self.outstanding))
    @rule()
    def succeed_after_a_retry(self) -> None:
        spent = self.outstanding.pop()
        self.budget.succeed(spent)
        self.expected = min(self.size, self.expected + spent)

    @precondition(lambda self: bool(self.outstanding))
    @rule()
    def fail_for_good(self) -> None:
        self.outstanding.pop()

    @rule()
    def succeed_at_once(self) -> None:
        self.budget.succeed(0)
        self.expected = min(self.size, self.expected + 1)

    @invariant()
    def holds_what_was_left(self) -> None:
        assert self.budget.left == self.expected
        assert 0 <= self.budget.left <= self.budget.size


TestBudget = BudgetMachine.TestCase
