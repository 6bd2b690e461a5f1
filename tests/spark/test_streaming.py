"""Streams without Spark: rounds, kills, replays, accounts that fail, come and go."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from stackone_lms.errors import InternalServerError, InvalidArgumentError, PreconditionFailedError
from stackone_lms.spark.offsets import Offset, Place, ReadRequest
from stackone_lms.spark.options import read_options
from stackone_lms.spark.streaming import StreamQuery

from .accounts import BEGIN, NAMES, Accounts, Make, Row, moment, options, user


def two() -> Accounts:
    return Accounts(a=[user(str(n), n) for n in range(7)], b=[user(str(n), n) for n in range(3)])


def everything(accounts: Accounts) -> list[Row]:
    return sorted((account, one["id"], one["name"]) for account, rows in accounts.records.items() for one in rows)


def test_first_all_of_it_and_then_what_has_changed(stream: Make) -> None:
    accounts = two()
    a = stream(accounts)
    assert sorted(a.round()) == everything(accounts)
    assert len(accounts.asked) == 4 + 2
    accounts.asked.clear()
    assert a.round() == []
    assert sorted(accounts.asked) == [("a", 0, moment(60)), ("b", 0, moment(60))]
    accounts.now = 80
    accounts.records["a"][3] = user("3", 70, "2")
    accounts.records["b"].append(user("9", 75))
    assert sorted(a.round()) == [("a", "3", "2"), ("b", "9", "1")]
    accounts.now = 90
    assert a.round() == []


def test_a_round_that_brings_nothing_is_no_micro_batch(stream: Make) -> None:
    a = stream(two())
    a.round()
    before = a.start
    assert a.query.read(before) == ([], before)


def test_a_round_ends_with_a_list_that_has_nothing(stream: Make) -> None:
    accounts = Accounts(a=[user("1", 1), user("2", 2), user("3", 3)], b=[])
    a = stream(accounts, accountsAtOnce="1")
    assert len(a.batch()) == 3
    assert a.batch() == []
    accounts.now = 80
    accounts.records["b"].append(user("1", 70))
    assert a.round() == [("b", "1", "1")]


def test_a_change_comes_in_one_round_though_it_is_asked_for_in_two(stream: Make) -> None:
    """It is too young for one round, and is left to the next; it was changed again meanwhile in a third."""
    accounts = Accounts(a=[user("old", 1), user("young", 55), user("undated", None), user("ahead", 60 * 24 * 30)])
    a = stream(accounts, lag="10m")
    assert [id for _, id, _ in a.round()] == ["old", "undated", "ahead"]  # what is stamped in a month has a wrong clock
    accounts.records["a"].pop()
    accounts.now = 64
    assert a.round() == []
    accounts.now = 66
    assert a.round() == [("a", "young", "1")]
    accounts.now = 90
    assert a.round() == []


def test_offsets_are_plain_json_with_the_cursors_of_open_lists(stream: Make) -> None:
    a = stream(two())
    a.batch()
    offset = json.loads(json.dumps(a.start))
    assert offset == a.start
    assert offset["accounts"] == ["a", "b"]
    assert all(place["cursor"] for place in offset["open"].values())
    assert "key" not in json.dumps(offset)


def test_a_kill_costs_what_was_not_written_down(stream: Make) -> None:
    accounts = two()
    a = stream(accounts, accountsAtOnce="1")
    found = a.batch()
    a.kill()
    lost = a.batch(killed=True)
    a.kill()
    assert a.batch() == lost
    a.kill()
    found += lost + a.round()
    assert sorted(found) == everything(accounts)


def test_a_restart_asks_the_server_from_the_cursor_on(stream: Make) -> None:
    accounts = Accounts(a=[user(str(n), n) for n in range(20)])
    a = stream(accounts, batchRows="10")
    a.batch()
    a.kill()
    accounts.asked.clear()
    a.batch()
    assert min(start for _, start, _ in accounts.asked) == 10


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.thorough) for seed in range(4, 40))]
)
def test_random_kills_failures_and_changes_lose_no_version(seed: int, stream: Make) -> None:
    """Whatever happens, each version of a record comes; and once, if no list has failed."""
    random = Random(seed)
    accounts = Accounts()
    accounts.records.update((id, [user(str(n), n) for n in range(random.randrange(12))]) for id in "abcd")
    a = stream(accounts, lag=random.choice(["0s", "5m"]), accountsAtOnce=random.choice(["1", "2", "8"]))
    failing = seed % 2 == 1
    found: list[Row] = []
    for step in range(60):
        what = random.random()
        if what < 0.25:
            a.kill()
        elif what < 0.4 and not a.start["open"] and a.begun is None:
            # Between rounds only: of a record that changes twice in one, the last version may be the only one.
            accounts.now += 20
            rows = accounts.records[random.choice("abcd")]
            changed = user(str(random.randrange(15)), accounts.now - 16, f"changed {step}")
            rows[:] = [one for one in rows if one["id"] != changed["id"]] + [changed]
        elif what < 0.55 and failing and a.begun is None:
            accounts.down = random.choice([{}, {random.choice("abcd"): random.choice([412, 503])}])
            accounts.breaks = {(random.choice("abcd"), 4): random.choice([403, 502])}
        rows_now = a.batch(killed=random.random() < 0.2)
        if a.begun is None:
            found += rows_now
        else:
            accounts.down, accounts.breaks = {}, {}
    accounts.down, accounts.breaks = {}, {}
    accounts.now += 30
    for _ in range(4):
        found += a.round()
    assert set(everything(accounts)) <= set(found)
    if not failing:
        assert [row for row, times in Counter(found).items() if times > 1] == []


def test_a_dead_account_leaves_the_others_alone_and_gets_what_it_missed(stream: Make) -> None:
    accounts = two()
    accounts.down = {"a": 412}
    a = stream(accounts)
    assert sorted(a.round()) == [("b", "0", "1"), ("b", "1", "1"), ("b", "2", "1")]
    assert a.start["behind"]["a"]["error"].startswith("PreconditionFailedError: ")
    accounts.now = 80
    accounts.records["b"].append(user("9", 70))
    assert a.round() == [("b", "9", "1")]
    accounts.down = {}
    accounts.now = 90
    assert sorted(a.round()) == [row for row in everything(accounts) if row[0] == "a"]
    assert a.start["behind"] == {}
    accounts.asked.clear()
    assert a.round() == []
    assert sorted(accounts.asked) == [("a", 0, moment(90)), ("b", 0, moment(90))]


def test_a_list_that_broke_off_goes_on_there_and_misses_no_change(stream: Make) -> None:
    """The change is on a page that was read before it broke off, and later than that round."""
    accounts = Accounts(a=[user(str(n), n) for n in range(7)])
    accounts.breaks = {("a", 4): 503}
    a = stream(accounts)
    assert [id for _, id, _ in a.round()] == ["0", "1", "2", "3"]
    accounts.breaks, accounts.now = {}, 80
    accounts.records["a"][0] = user("0", 70, "2")
    assert [id for _, id, _ in a.round()] == ["4", "5", "6"]
    assert a.round() == [("a", "0", "2")]
    accounts.asked.clear()
    assert a.round() == []
    assert accounts.asked == [("a", 0, moment(80))]


def test_a_cursor_that_is_refused_is_given_up(stream: Make) -> None:
    accounts = Accounts(a=[user(str(n), n) for n in range(7)])
    accounts.breaks = {("a", 4): 503}
    a = stream(accounts)
    a.round()
    accounts.breaks = {("a", 4): 410}
    assert a.round() == []
    accounts.asked.clear()
    accounts.breaks = {}
    assert sorted(a.round()) == everything(accounts)
    assert accounts.asked[0] == ("a", 0, None)


def test_an_account_that_is_taken_out_of_a_round_leaves_the_others_as_they_are() -> None:
    now: Any = {"now": BEGIN, "lag": timedelta(0), "since": None, "dated": True}
    first = Offset.first("users", ReadRequest(100)).next_round(["a", "b"], ReadRequest(100), **now)
    before = first.delivered("a", None, 1).delivered("b", None, 1)
    here = before.next_round(["b", "c", "d"], ReadRequest(100), **now)
    assert list(here.waiting()) == [("c", Place()), ("d", Place()), ("b", Place(moment(0)))]
    assert list(here.without(["b", "d"]).waiting()) == [("d", Place()), ("b", Place(moment(0)))]
    later = here.delivered("c", "cursor", 1).without(["b", "d"])
    assert list(later.waiting()) == [("d", Place()), ("b", Place(moment(0)))]


def test_on_error_fail_ends_the_stream(stream: Make) -> None:
    accounts = two()
    accounts.down = {"a": 412}
    with pytest.raises(PreconditionFailedError):
        stream(accounts, onError="fail").round()


def test_a_micro_batch_that_cannot_be_read_again_says_what_to_do(stream: Make) -> None:
    accounts = two()
    a = stream(accounts, accountsAtOnce="1", batchRows="7")
    lost = a.batch(killed=True)
    assert {row[0] for row in lost} == {"a"}
    accounts.down = {"a": 412}
    a.kill()
    with pytest.raises(PreconditionFailedError) as caught:
        a.batch()
    assert "take it out of the accounts" in caught.value.__notes__[0]
    a.given["accounts"] = "b"
    a.kill()
    found = a.batch() + a.round()
    assert sorted(found) == [row for row in everything(accounts) if row[0] == "b"]
    a.given["accounts"], accounts.down = "a,b", {}
    a.kill()
    accounts.now = 90
    assert sorted(a.round()) == [row for row in everything(accounts) if row[0] == "a"]


def test_accounts_come_and_go(stream: Make) -> None:
    """A new one is read whole, though it was none of the first round; one that is gone is asked no more."""
    accounts = two()
    a = stream(accounts, accounts="b")
    a.round()
    a.given["accounts"] = "a,b"
    a.kill()
    assert sorted(a.round()) == [row for row in everything(accounts) if row[0] == "a"]
    a.given["accounts"] = "a"
    a.kill()
    accounts.asked.clear()
    a.round()
    assert {account for account, _, _ in accounts.asked} == {"a"}


def test_all_accounts_are_looked_up_for_each_round_and_there_may_be_none(
    stream: Make, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = Accounts()
    a = stream(accounts, allAccounts="true")
    assert a.round() == []
    assert "no active account" in caplog.text
    accounts.records["new"] = [user("1", 1)]
    assert a.round() == [("new", "1", "1")]


def test_a_round_begins_when_it_is_due(stream: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = two()
    a = stream(accounts, pollInterval="30m")
    a.round()
    monkeypatch.setattr("stackone_lms.spark.streaming._PAUSE", 0.0)
    accounts.asked.clear()
    assert a.batch() == []
    a.kill()
    assert a.batch() == []
    assert accounts.asked == []
    accounts.now += 31
    a.batch()
    assert accounts.asked


def test_available_now_ends_the_round_under_way_and_reads_one_more(stream: Make) -> None:
    accounts = two()
    a = stream(accounts, pollInterval="30m")
    found = a.batch()
    a.kill()
    accounts.now = 61
    accounts.records["b"].append(user("9", 60.5))
    a.query.finish_soon()
    while True:
        before = a.start
        found += a.batch()
        if a.start == before:
            break
    assert sorted(found) == everything(accounts)
    accounts.records["b"].append(user("10", 60.7))
    assert a.batch() == []


def test_another_list_or_another_source_has_another_checkpoint() -> None:
    of_users = StreamQuery(read_options(options(accounts="a")), NAMES)
    of_skills = StreamQuery(read_options(options(accounts="a", path="skills")), NAMES)
    with pytest.raises(InvalidArgumentError, match="is that of a stream of skills, not of users"):
        of_users.read(of_skills.first())
    for strange in ({}, {"version": 1}, {**of_users.first(), "version": 2}, {"offset": 7}):
        with pytest.raises(InvalidArgumentError, match="not written by this source"):
            of_users.read(strange)


def test_a_query_pickles_without_what_is_under_way(stream: Make) -> None:
    a = stream(two())
    a.batch()
    copy = pickle.loads(pickle.dumps(a.query))
    found, _ = copy.read(a.start)
    assert sum(batch.num_rows for batch in found) >= 3
    copy.close()


def test_lists_without_dates_are_read_whole_each_round() -> None:
    before = Offset.first("skills", ReadRequest(100))
    for _ in range(2):
        before = before.next_round(["a"], ReadRequest(100), now=BEGIN, lag=timedelta(0), since=None, dated=False)
        assert list(before.waiting()) == [("a", Place())]
        assert before.bounds(Place()) is None
        before = before.delivered("a", None, 1)
        assert before.ended


def test_a_stream_that_has_failed_begins_anew(stream: Make) -> None:
    """Spark starts another process; but nothing may look as if there was no more to read."""
    accounts = two()
    accounts.down = {"b": 412}
    a = stream(accounts, onError="fail", accountsAtOnce="1")
    for _ in range(2):
        with pytest.raises(PreconditionFailedError):
            a.round()
    accounts.down = {}
    a.start = a.query.first()
    assert sorted(a.round()) == everything(accounts)


def test_accounts_that_cannot_be_looked_up_are_tried_again_but_end_what_shall_come_to_an_end(stream: Make) -> None:
    accounts = Accounts(a=[user("1", 1)])
    a = stream(accounts, allAccounts="true")
    accounts.lookups_fail = True
    assert a.batch() == []
    a.query.finish_soon()
    with pytest.raises(InternalServerError):
        a.batch()
    accounts.lookups_fail = False
    assert a.round() == [("a", "1", "1")]
