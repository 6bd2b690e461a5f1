"""The rule by which an account finds out how many of its requests may be under way, without I/O."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackone_lms.admission import FIRST, Lane


def full(lane: Lane, successes: int) -> None:
    """Let so many requests succeed while all that may are under way."""
    for _ in range(successes):
        lane.sending = lane.limit - 1
        lane.succeed()


def refused(lane: Lane) -> None:
    """Let one of all that may be under way be refused."""
    lane.sending = lane.limit - 1
    lane.cut(lane.epoch)


def cautious(most: int = 100) -> Lane:
    """A lane whose server has said no at 30, so that it has 15, and grows from there by one a window."""
    lane = Lane(most)
    full(lane, 14)
    refused(lane)
    assert lane.limit == 15
    full(lane, 15)
    assert lane.limit == 16
    return lane


def test_it_starts_modestly_and_doubles_each_round_trip() -> None:
    """From 16, each success adds one, until the server says no."""
    lane = Lane(100)
    assert lane.limit == FIRST == 16
    full(lane, 1)
    assert lane.limit == 17
    full(lane, 15)
    assert lane.limit == 32
    full(lane, 32)
    assert lane.limit == 64


def test_the_first_no_halves_it_and_from_there_it_grows_by_one_a_window() -> None:
    """What was under way may have doubled before the server could answer; half of it is where the search begins."""
    lane = Lane(100)
    full(lane, 14)
    assert lane.limit == 30
    refused(lane)
    assert lane.limit == lane.gate == 15
    full(lane, 14)
    assert lane.limit == 15
    full(lane, 1)
    assert lane.limit == lane.gate == 16
    full(lane, 15)
    assert lane.limit == 16
    full(lane, 1)
    assert lane.limit == 17


@pytest.mark.parametrize(("make", "enough"), [(Lane, 8), (cautious, 12)])
def test_it_does_not_grow_while_it_is_not_used(make: Callable[[int], Lane], enough: int) -> None:
    """Successes that need no more room say nothing about more room: at first by half, later by three quarters."""
    lane = make(100)
    for under_way, grows in ((enough - 1, False), (enough, True)):
        for _ in range(1000):
            lane.sending = under_way - 1
            lane.succeed()
        assert (lane.limit > 16) is grows


def test_it_never_exceeds_the_cap() -> None:
    """max_concurrency is the most, also at the start."""
    lane = Lane(20)
    full(lane, 10_000)
    assert lane.limit == 20
    assert Lane(4).limit == 4


def test_a_sign_of_trouble_cuts_once_a_round_trip() -> None:
    """Requests that left before the cut say nothing new; those that left after it do."""
    lane = Lane(100)
    before = lane.epoch
    lane.sending = 15
    for _ in range(16):
        lane.cut(before)
    assert lane.limit == 8
    refused(lane)
    assert lane.limit == 5
    assert lane.throttled == 17


def test_a_limit_that_has_held_is_cut_by_a_tenth() -> None:
    """One that had just been cut, or never held, by three tenths."""
    lane = cautious()
    full(lane, 16 + 17 + 18 + 19)
    assert lane.limit == 20
    refused(lane)
    assert lane.limit == 18
    refused(lane)
    assert lane.limit == 12


def test_what_is_under_way_is_cut_and_not_what_could_have_been() -> None:
    """A no to the twelfth where twenty may go is about twelve; to one on its own, it is about half of what may go."""
    for under_way, left in ((20, 18), (12, 10), (1, 9)):
        lane = cautious()
        full(lane, 16 + 17 + 18 + 19)
        lane.sending = under_way - 1
        lane.cut(lane.epoch)
        assert lane.limit == left


def test_after_an_outage_it_climbs_back_quickly() -> None:
    """Cuts on end have one cause: then it grows by one a success up to where the first of them left it."""
    lane = cautious()
    full(lane, 10_000)
    assert lane.limit == 100
    refused(lane)
    assert lane.limit == 90
    for _ in range(6):
        refused(lane)
    assert lane.limit == 9
    full(lane, 81)
    assert lane.limit == 90
    full(lane, 89)
    assert lane.limit == 90
    full(lane, 1)
    assert lane.limit == 91


def test_trouble_on_the_way_back_ends_the_climb() -> None:
    """Then the level is lower than it was: from there it grows by one a window."""
    lane = cautious()
    full(lane, 10_000)
    for _ in range(7):
        refused(lane)
    full(lane, 4)
    assert lane.limit == 13
    refused(lane)
    assert lane.limit == 9
    full(lane, 8)
    assert lane.limit == 9
    full(lane, 1)
    assert lane.limit == 10


def test_it_probes_a_known_ceiling_less_and_less_often() -> None:
    """Where the server has said no, the next try comes after 1, 2, 4 ... 64 windows."""
    lane = cautious()
    full(lane, 16)
    waits: list[int] = []
    for _ in range(9):
        refused(lane)
        assert lane.limit == 15
        full(lane, 15)
        assert lane.limit == 16
        count = 0
        while lane.limit < 17:
            full(lane, 1)
            count += 1
        waits.append(count // 16)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]


def test_a_ceiling_has_to_hold_for_longer_the_more_often_it_has_given_way() -> None:
    """A limit at which the server has said no several times must hold for eight windows before it grows on."""
    lane = cautious()
    full(lane, 16)
    for _ in range(5):
        refused(lane)
        while lane.limit < 17:
            full(lane, 1)
    full(lane, 8 * 17 - 1)
    assert lane.limit == 17
    full(lane, 1)
    assert lane.limit == 18


def test_trouble_below_the_ceiling_says_nothing_about_it() -> None:
    """Where a server fails at random, its last no is not taken for a ceiling: the next try comes a window later."""
    lane = cautious()
    full(lane, 16)
    for _ in range(5):
        refused(lane)
        while lane.limit < 17:
            full(lane, 1)
    refused(lane)
    full(lane, 15)
    assert lane.limit == 16
    full(lane, 16)
    refused(lane)  # at 16, where the ceiling is at 17
    assert lane.limit == 14
    full(lane, 14 + 15)
    assert lane.limit == 16


def test_a_ceiling_that_has_gone_is_forgotten() -> None:
    """One window at the ceiling without trouble, and it grows on as before."""
    lane = cautious()
    refused(lane)
    full(lane, 10_000)
    assert lane.limit == 100


def test_a_cap_at_the_level_of_the_server_is_no_new_beginning() -> None:
    """A limit that has grown to the cap is cut as any other that has held."""
    lane = cautious(30)
    full(lane, 10_000)
    assert lane.limit == 30
    refused(lane)
    assert lane.limit == 27


def test_the_first_sign_is_measured_at_what_was_under_way() -> None:
    """Calls are held back only once the server has said no; then from what was under way."""
    lane = Lane(100)
    assert lane.gate == 100
    lane.sending = 79
    lane.cut(lane.epoch)
    assert lane.limit == lane.gate == 40


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50), st.lists(st.booleans(), max_size=300))
def test_the_limit_stays_within_its_bounds(most: int, events: list[bool]) -> None:
    """Whatever comes, at least one request may go and never more than the cap."""
    lane = Lane(most)
    for good in events:
        if good:
            full(lane, 3)
        else:
            lane.cut(lane.epoch)
        assert 1 <= lane.limit <= most
        assert 1 <= lane.gate <= most


def test_a_matter_of_the_rate_is_forgiven() -> None:
    """Where a pause and a rate limit see to it, the limit doubles again up to where it was."""
    lane = Lane(1000)
    full(lane, 184)
    assert lane.limit == 200
    refused(lane)
    refused(lane)
    assert lane.limit == 70
    lane.forgive()
    full(lane, 130)
    assert lane.limit == 200
    full(lane, 199)
    assert lane.limit == 200
