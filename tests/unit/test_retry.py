"""The retry rule: what is retried, how often, after which pause, what `Retry-After` means, what retries may cost."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stackone_lms import errors as e
from stackone_lms.engine.retry import (
    COST,
    COST_THROTTLED,
    AttemptFailure,
    Budget,
    Decision,
    backoff,
    decide,
    max_retries,
    parse_retry_after,
    status_failure,
)
from stackone_lms.options import RetryPolicy

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EPOCH = NOW.timestamp()


def http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)


def status(code: int, retry_after: float | None = None, *, key_wide: bool = False) -> AttemptFailure:
    """The failure of an error answer."""
    return status_failure(e.class_for(code, None)("no", status=code, retry_after=retry_after), key_wide=key_wide)


def decided(failure: AttemptFailure, policy: RetryPolicy | None = None, **given: Any) -> Decision:
    options: dict[str, Any] = {"attempt": 1, "repeatable": True, "remaining": 1e6, "random": lambda: 0.5, **given}
    return decide(policy or RetryPolicy(attempts=10), failure, **options)


def timed_out(phase: e.Phase) -> e.APITimeoutError:
    return e.APITimeoutError("slow", phase=phase)


ALWAYS, NEVER = math.inf, 0
RULE: list[tuple[AttemptFailure, float, bool]] = [
    *[(status(code), ALWAYS, False) for code in (408, 500, 502, 503, 504, *range(520, 531))],
    (status(429), ALWAYS, True),
    *[(status(code), NEVER, False) for code in (400, 401, 403, 404, 405, 409, 410, 412, 415, 422, 499)],
    *[(status(code), NEVER, False) for code in (501, 505, 507, 511, 519, 531, 598, 599)],
    (AttemptFailure(error=e.ConnectionLostError("lost")), ALWAYS, False),
    (AttemptFailure(error=e.ConnectError("refused"), request_sent=False), ALWAYS, True),
    (AttemptFailure(error=e.ConnectError("no such name", retryable=False), request_sent=False), NEVER, False),
    (AttemptFailure(error=timed_out("connect"), request_sent=False), ALWAYS, True),
    (AttemptFailure(error=timed_out("read")), ALWAYS, False),
    (AttemptFailure(error=timed_out("attempt")), ALWAYS, False),
    (AttemptFailure(error=e.TLSError("unknown CA"), request_sent=False), NEVER, False),
    (AttemptFailure(error=e.ProtocolError("no HTTP")), NEVER, False),
    (AttemptFailure(error=e.ProtocolError("bad gzip"), max_retries=1), 1, False),
    (AttemptFailure(error=e.ConnectError("refused"), request_sent=False, max_retries=0), NEVER, False),
    (AttemptFailure(error=e.ResponseTooLargeError("large")), NEVER, False),
    (AttemptFailure(error=e.RedirectError("elsewhere", status=302)), NEVER, False),
    (AttemptFailure(error=e.DecodeError("no JSON", status=200)), NEVER, False),
    (AttemptFailure(error=e.DecodeError("cut off", status=200), garbled=True), 1, False),
    (AttemptFailure(error=e.IdMismatchError("another", status=200), garbled=True), 1, False),
    (AttemptFailure(error=e.ClientClosedError("closed"), request_sent=False), NEVER, False),
]
"""Each failure, how many retries it is worth, and whether a POST or PATCH is sent again."""


def shown(value: Any) -> str:
    return repr(getattr(value, "error", value))


@pytest.mark.parametrize(("failure", "worth", "unrepeatable"), RULE, ids=shown)
def test_which_failures_are_retried_and_how_often(failure: AttemptFailure, worth: float, unrepeatable: bool) -> None:
    assert max_retries(failure) == worth
    for attempt in range(1, 12):
        again = attempt <= worth and attempt < 10
        assert (decided(failure, attempt=attempt).delay is not None) == again
        assert (decided(failure, attempt=attempt, repeatable=False).delay is not None) == (again and unrepeatable)
    if worth != 1:  # "once more" is no promise that the same call may succeed later
        assert failure.error.retryable == (worth > 0 or failure.max_retries == 0)


@pytest.mark.parametrize(
    ("failure", "load", "cost"),
    [
        (status(429), "overloaded", COST_THROTTLED),
        (status(503), "overloaded", COST_THROTTLED),
        (status(408), "overloaded", COST),
        (AttemptFailure(error=timed_out("read")), "overloaded", COST),
        (AttemptFailure(error=e.ConnectError("no descriptors"), out_of_resources=True), "overloaded", COST_THROTTLED),
        (status(400), "served", COST),
        (status(404), "served", COST),
        (AttemptFailure(error=e.DecodeError("no JSON", status=200)), "served", COST),
        (status(500), None, COST),
        (status(502), None, COST),
        (status(520), None, COST),
        (AttemptFailure(error=e.ConnectionLostError("lost")), None, COST),
    ],
    ids=shown,
)
def test_what_a_failure_says_of_the_load_and_what_its_retry_costs(
    failure: AttemptFailure, load: Any, cost: int
) -> None:
    decision = decided(failure)
    assert (decision.load, decision.cost) == (load, cost)


@pytest.mark.parametrize(
    ("failure", "new", "close"),
    [
        (AttemptFailure(error=e.ConnectionLostError("lost")), True, False),
        (AttemptFailure(error=e.IdMismatchError("another", status=200)), True, True),
        (AttemptFailure(error=e.RedirectError("elsewhere", status=302)), True, True),
        (AttemptFailure(error=e.ConnectError("refused")), False, False),
        (AttemptFailure(error=timed_out("read")), True, False),
        (AttemptFailure(error=timed_out("attempt")), True, False),
        (AttemptFailure(error=timed_out("connect")), False, False),
        (status(500), False, False),
    ],
    ids=shown,
)
def test_what_becomes_of_the_connection(failure: AttemptFailure, new: bool, close: bool) -> None:
    decision = decided(failure)
    assert (decision.new_connection, decision.close_connection) == (new, close)


@pytest.mark.parametrize(
    ("failure", "delay", "pause", "key_wide"),
    [
        (status(429, 30.0), 30.05, 30.0, False),
        (status(429, 30.0, key_wide=True), 30.05, 30.0, True),
        (status(503, 30.0, key_wide=True), 30.05, 30.0, False),
        (status(503, 0.2), 0.5, 0.2, False),  # the backoff is longer
        (status(500, 30.0), 30.05, None, False),
        (status(408, 60.0), 60.05, None, False),
        (status(404, 30.0), None, None, False),
        (status(429, 60.5), None, None, False),
        (status(429, math.inf), None, None, False),
        (status(500, 60.5), None, None, False),
        (status(429), 0.5, None, False),
    ],
    ids=shown,
)
def test_what_the_server_asks_to_wait(
    failure: AttemptFailure, delay: float | None, pause: float | None, key_wide: bool
) -> None:
    decision = decided(failure)
    assert decision.delay == pytest.approx(delay)
    assert decision.pause == pause
    if pause is not None:
        assert decision.key_wide is key_wide


def test_a_pause_is_asked_of_all_even_where_the_call_itself_is_not_retried() -> None:
    assert decided(status(429, 30.0), attempt=10).pause == 30.0
    assert decided(status(503, 30.0), repeatable=False).pause == 30.0
    assert decided(status(429, 30.0), remaining=1.0).pause == 30.0


def test_no_retry_begins_after_the_deadline() -> None:
    lost = AttemptFailure(error=e.ConnectionLostError("lost"))
    policy = RetryPolicy(base=2.0)
    assert decided(lost, policy, remaining=1.1).delay == 1.0
    assert decided(lost, policy, remaining=1.0).delay is None
    assert decided(lost, policy, remaining=-5.0).delay is None


def test_a_decision_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        decided(status(500)).delay = 0.0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


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
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("12345678901", math.inf),
        ("12345678901.5", math.inf),
        ("00000000001", math.inf),
        ("9" * 5000, math.inf),
        ("1." + "0" * 5000, 1.0),
        ("Sun, 01 Mar 2026 12:00:60 GMT", 60.0),  # a leap second
        ("Sun Mar  1 12:00:60 2026", 60.0),
        ("Sunday, 01-Mar-26 12:00:60 GMT", 60.0),
        ("Sunday, 01-Mar-76 11:59:59 GMT", datetime(2076, 3, 1, 11, 59, 59, tzinfo=UTC).timestamp() - EPOCH),
        ("Monday, 02-Mar-76 12:00:00 GMT", 0.0),  # more than fifty years ahead, so of 1976
        ("Sunday, 01-Jan-77 00:00:00 GMT", 0.0),
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
        "Sun, 99 Mar 2026 12:00:00 GMT",
        "Sun, 01 Mar 2026 25:00:00 GMT",
        "Sun, 01 Mar 2026 24:00:00 GMT",
        "Sun, 01 Mar 2026 12:00:61 GMT",
        "Sun, 01 Mar 26 12:00:30 GMT",  # two digits of a year
        "sun, 01 Mar 2026 12:00:30 GMT",
        "SUN, 01 Mar 2026 12:00:30 GMT",
        "Sun, 01 mar 2026 12:00:30 GMT",
        "Sun, 1 Mar 2026 12:00:30 GMT",
        "Sun, 01 Mar 2026 12:00:30",
        "Sun, 01 Mar 2026 12:00:30 UTC",
        "Sun, 01 Mar 2026 12:00:30 gmt",
        "Sun, 01 Mar 2026 12:00:30 -0000",
        "Sun, 01 Mar 2026 14:00:30 +0200",
        "Sun, 01 Mar 2026 12:00:30 GMT, 01",
        "Sun, 01 Mar 2026 12:00:30 GMT;",
        "Sun,  01 Mar 2026 12:00:30 GMT",
        "Sun 01 Mar 2026 12:00:30 GMT",
        "01 Mar 2026 12:00:30 GMT",
        "Sun, 01-Mar-26 12:00:30 GMT",  # the short weekday of one form with the date of another
        "Sunday, 01-Mar-2026 12:00:30 GMT",
        "Sunday, 01 Mar 2026 12:00:30 GMT",
        "Sun Mar 1 12:00:30 2026",
        "Sun Mar  1 12:00:30 2026 GMT",
        "Sat, 01 Jan 0000 00:00:00 GMT",
        "Sunday, 30-Feb-26 12:00:30 GMT",
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
def test_no_text_gives_anything_but_seconds(value: str, date: str | None) -> None:
    seconds = parse_retry_after(value, date, now=EPOCH)
    assert seconds is None or seconds >= 0.0


@pytest.mark.parametrize("now", [-1e18, math.inf, math.nan])
def test_a_clock_out_of_range_is_no_crash(now: float) -> None:
    assert parse_retry_after("Sunday, 01-Mar-26 12:00:30 GMT", now=now) is None


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
    assert [budget.spend(COST) for _ in range(36)] == [True] * 35 + [False]
    assert (budget.spend(COST_THROTTLED), budget.tokens) == (True, 5)
    assert (budget.spend(COST_THROTTLED), budget.spend(COST_THROTTLED)) == (True, False)


def test_an_empty_bucket_never_pays() -> None:
    assert not Budget(0).spend(COST_THROTTLED)


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
        paid = self.budget.spend(cost)
        assert paid == (self.expected >= cost)
        if paid:
            self.expected -= cost
            self.outstanding.append(cost)

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
        assert self.budget.tokens == self.expected
        assert 0 <= self.budget.tokens <= self.budget.size


TestBudget = BudgetMachine.TestCase
