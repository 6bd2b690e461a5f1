"""The rule by which an account finds out how many of its requests may be under way, without I/O."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackone_lms.engine.concurrency import INITIAL_LIMIT, ConcurrencyLimit, Snapshot


class Flight:
    """The requests of one account, in full use: as soon as one is answered, another leaves. Answers come in order."""

    def __init__(self, most: int = 100) -> None:
        self.concurrency = ConcurrencyLimit(most)
        self._under_way: deque[Snapshot] = deque()

    @property
    def limit(self) -> int:
        return self.concurrency.limit

    def fill(self, most: int | None = None) -> None:
        """Let requests leave until as many are under way as may be, or `most`."""
        while len(self._under_way) < (self.limit if most is None else most):
            self.concurrency.sent += 1
            self.concurrency.in_flight += 1
            self._under_way.append((self.concurrency.sent, self.concurrency.in_flight, self.limit))

    def succeed(self, count: int = 1, most: int | None = None) -> None:
        """Let so many requests succeed, one after the other."""
        for _ in range(count):
            self.fill(most)
            self.concurrency.in_flight -= 1
            self.concurrency.succeed(self._under_way.popleft())

    def trips(self, count: int = 1) -> None:
        """Let so many round trips pass: all that is under way, or leaves now, succeeds."""
        for _ in range(count):
            self.fill()
            self.succeed(len(self._under_way))

    def refuse(self, under_way: int | None = None) -> None:
        """Let the last of all that may be under way be refused, or of so many, and end all others."""
        self.fill(under_way)
        self.concurrency.in_flight -= 1
        self.concurrency.decrease(self._under_way.pop())
        self.end()

    def end(self) -> None:
        """Let all that is under way end, in whatever way."""
        self._under_way.clear()
        self.concurrency.in_flight = 0

    def trips_until(self, limit: int) -> int:
        """Let round trips pass until the limit is so high, and say how many."""
        count = 0
        while self.limit < limit:
            self.trips()
            count += 1
        return count


def cautious(most: int = 100) -> Flight:
    """An account whose server has said no at 30, so that it has 15, and grows from there by one a round trip."""
    flight = Flight(most)
    flight.succeed(14)
    flight.refuse()
    assert flight.limit == 15
    flight.trips()
    assert flight.limit == 16
    return flight


def test_it_starts_modestly_and_doubles_each_round_trip() -> None:
    """From 16, each success adds one, until the server says no."""
    flight = Flight()
    assert flight.limit == INITIAL_LIMIT == 16
    flight.fill()
    flight.succeed(1)
    assert flight.limit == 17
    flight.succeed(15)
    assert flight.limit == 32
    flight.trips()
    assert flight.limit == 64


def test_the_first_no_halves_it_and_from_there_it_grows_by_one_a_round_trip() -> None:
    """What was under way may have doubled before the server could answer; half of it is where the search begins."""
    flight = Flight()
    flight.succeed(14)
    assert flight.limit == 30
    flight.refuse()
    assert flight.limit == flight.concurrency.enforced == 15
    flight.succeed(13)
    assert flight.limit == 15
    flight.succeed(1)
    assert flight.limit == flight.concurrency.enforced == 16
    flight.succeed(14)  # they left while it was 15
    assert flight.limit == 16
    flight.succeed(1)
    assert flight.limit == 17


def test_at_first_it_grows_while_half_of_it_is_used() -> None:
    """Successes that need no more room say nothing about more room."""
    flight = Flight()
    flight.succeed(1000, most=7)
    assert flight.limit == 16
    flight.succeed(1000, most=8)
    assert flight.limit == 17


@pytest.mark.parametrize(("most", "limit"), [(13, 16), (14, 17)])
def test_later_it_grows_while_all_of_it_is_used(most: int, limit: int) -> None:
    """That is, seven eighths of it."""
    flight = cautious()
    flight.end()
    flight.succeed(1000, most=most)
    assert flight.limit == limit


def test_it_never_exceeds_the_cap() -> None:
    """max_concurrency is the most, also at the start."""
    flight = Flight(20)
    flight.succeed(10_000)
    assert flight.limit == 20
    assert ConcurrencyLimit(4).limit == 4


def test_a_sign_of_trouble_cuts_once_a_round_trip() -> None:
    """Requests that left before the cut say nothing new; those that left after it do."""
    flight = Flight()
    flight.fill()
    for number in range(16, 0, -1):
        flight.concurrency.in_flight = 15
        flight.concurrency.decrease((number, number, 16))
    assert flight.limit == 8
    flight.end()
    flight.refuse()
    assert flight.limit == 5
    assert flight.concurrency.throttled == 17


def test_a_limit_that_has_held_is_cut_by_a_tenth() -> None:
    """One that had just been cut, or never held, by three tenths."""
    flight = cautious()
    flight.trips(4)
    assert flight.limit == 20
    flight.refuse()
    assert flight.limit == 18
    flight.refuse()
    assert flight.limit == 12


def test_what_was_under_way_is_cut_and_not_what_could_have_been() -> None:
    """A no to the twelfth where twenty may go is about twelve; to one on its own, it is about half of what may go."""
    for under_way, left in ((20, 18), (12, 10), (1, 9)):
        flight = cautious()
        flight.trips(4)
        flight.end()
        flight.refuse(under_way)
        assert flight.limit == left


def test_a_no_is_about_what_was_under_way_when_the_request_left() -> None:
    """A server that takes longer to refuse than to answer: meanwhile the limit has grown, and others have come back."""
    flight = cautious()
    flight.fill()
    late = (flight.concurrency.sent, flight.concurrency.in_flight, flight.limit)
    assert late[1:] == (16, 16)
    flight.trips(4)
    assert flight.limit == 20
    flight.concurrency.in_flight = 3
    flight.concurrency.decrease(late)
    assert flight.limit == 14


def test_after_an_outage_it_climbs_back_quickly() -> None:
    """Cuts on end have one cause: then it grows by one a success up to where the first of them left it."""
    flight = cautious()
    flight.succeed(10_000)
    assert flight.limit == 100
    flight.refuse()
    assert flight.limit == 90
    for _ in range(6):
        flight.refuse()
    assert flight.limit == 9
    flight.succeed(81)
    assert flight.limit == 90
    flight.succeed(70)
    assert flight.limit == 90
    flight.succeed(20)
    assert flight.limit == 91


def test_trouble_on_the_way_back_ends_the_climb() -> None:
    """Then the level is lower than it was: from there it grows by one a round trip."""
    flight = cautious()
    flight.succeed(10_000)
    for _ in range(7):
        flight.refuse()
    flight.succeed(4)
    assert flight.limit == 13
    flight.refuse()
    assert flight.limit == 9
    flight.trips()
    assert flight.limit == 10


def test_it_probes_a_known_ceiling_less_and_less_often() -> None:
    """Where the server has said no, the next try comes after 1, 2, 4 ... 64 round trips."""
    flight = cautious()
    flight.trips()
    waits: list[int] = []
    for _ in range(9):
        flight.refuse()
        assert flight.limit == 15
        assert flight.trips_until(16) == 1
        waits.append(flight.trips_until(17))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_what_it_found_out_survives_a_server_that_refuses_slowly() -> None:
    """Though the limit has grown beyond the ceiling meanwhile, the ceiling was tried and gave way."""
    flight = cautious()
    flight.trips()
    waits: list[int] = []
    for _ in range(5):
        flight.fill()
        late = (flight.concurrency.sent, 17, 17)
        flight.trips_until(20)
        flight.concurrency.decrease(late)
        flight.end()
        assert flight.limit == 15
        assert flight.trips_until(16) == 1
        waits.append(flight.trips_until(17))
    assert waits == [1, 2, 4, 8, 16]


def test_a_ceiling_has_to_hold_for_longer_the_more_often_it_has_given_way() -> None:
    """A limit at which the server has said no several times must hold for eight round trips before it grows on."""
    flight = cautious()
    flight.trips()
    for _ in range(5):
        flight.refuse()
        flight.trips_until(17)
    assert flight.trips_until(18) == 8
    assert flight.trips_until(19) == 1


@pytest.mark.parametrize("level", [16, 40])
def test_trouble_elsewhere_says_nothing_about_the_ceiling(level: int) -> None:
    """Where a server fails at random, its last no is not taken for a ceiling: the next try comes at once."""
    flight = cautious()
    flight.trips()
    for _ in range(5):
        flight.refuse()
        flight.trips_until(17)
    if level == 16:
        flight.refuse()
        flight.trips_until(16)
    else:
        flight.trips_until(40)
    flight.refuse()
    below = flight.limit
    assert below == int(level * 0.9)
    assert flight.trips_until(level + 2) == level + 2 - below


def test_a_ceiling_that_has_gone_is_forgotten() -> None:
    """One round trip at the ceiling without trouble, and it grows on as before."""
    flight = cautious()
    flight.refuse()
    flight.succeed(10_000)
    assert flight.limit == 100


def test_a_cap_at_the_level_of_the_server_is_no_new_beginning() -> None:
    """A limit that has grown to the cap is cut as any other that has held."""
    flight = cautious(30)
    flight.succeed(10_000)
    assert flight.limit == 30
    flight.refuse()
    assert flight.limit == 27


def test_the_first_sign_is_measured_at_what_was_under_way() -> None:
    """Calls are held back only once the server has said no; then from what was under way."""
    flight = Flight()
    assert flight.concurrency.enforced == 100
    flight.refuse(80)
    assert flight.limit == flight.concurrency.enforced == 40


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50), st.lists(st.booleans(), max_size=300))
def test_the_limit_stays_within_its_bounds(most: int, events: list[bool]) -> None:
    """Whatever comes, at least one request may go and never more than the cap."""
    flight = Flight(most)
    for good in events:
        if good:
            flight.succeed(3)
        else:
            flight.refuse()
        assert 1 <= flight.limit <= most
        assert 1 <= flight.concurrency.enforced <= most


def test_a_matter_of_the_rate_is_forgiven() -> None:
    """Where a pause and a rate limit see to it, the limit doubles again up to where it was."""
    flight = Flight(1000)
    flight.succeed(184)
    assert flight.limit == 200
    flight.refuse()
    flight.refuse()
    assert flight.limit == 70
    flight.concurrency.recover()
    flight.succeed(130)
    assert flight.limit == 200
    flight.succeed(150)
    assert flight.limit == 200


def test_what_a_single_request_is_told_is_no_matter_of_how_many() -> None:
    """A blip while one request is under way is counted, and nobody is held back for it."""
    flight = Flight()
    for _ in range(5):
        flight.refuse(1)
    assert (flight.limit, flight.concurrency.enforced, flight.concurrency.throttled) == (16, 100, 5)
    flight.trips()
    assert flight.limit == 32


@pytest.mark.parametrize(("level", "others"), [(2, 0), (1, 1)])
def test_what_one_of_several_is_told_counts(level: int, others: int) -> None:
    """Whether the others were there when it left, or are there now."""
    concurrency = ConcurrencyLimit(100)
    concurrency.sent, concurrency.in_flight = 2, others
    concurrency.decrease((1, level, 16))
    assert concurrency.enforced == concurrency.limit == 1
