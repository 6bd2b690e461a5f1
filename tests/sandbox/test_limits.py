"""Limits and failures on purpose."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from stackone_lms.sandbox import Sandbox
from stackone_lms.sandbox.limits import Window

from .client import Client
from .conftest import Start


class Timer:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_window_slides_and_tells_the_seconds_to_wait() -> None:
    timer = Timer()
    window = Window((3, 60.0), timer)
    assert [window.take() for _ in range(2)] == [None, None]
    timer.now += 20.5
    assert [window.take(), window.take(), window.take()] == [None, 40, 40]
    timer.now += 39.6
    assert [window.take(), window.take(), window.take()] == [None, None, 21]
    timer.now += 20.4
    assert [window.take(), window.take()] == [None, 40]


def test_wait_of_less_than_a_second_is_told_as_one() -> None:
    window = Window((1, 0.25), Timer())
    assert [window.take(), window.take()] == [None, 1]


@pytest.mark.parametrize("limit", [(0, 60.0), (5, 0.0), (5, float("inf")), (5, float("nan"))])
def test_limits_that_make_no_sense_are_refused(limit: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="a limit is"):
        Sandbox(rate_limit=limit)


async def test_key_has_one_limit_over_all_accounts(start: Start) -> None:
    api = await start(rate_limit=(4, 60.0))
    replies = [await api.get("users", account=n % 3) for n in range(6)]
    assert [reply.status for reply in replies] == [200] * 4 + [429] * 2
    assert 1 <= int(replies[-1].headers["Retry-After"]) <= 60
    assert replies[-1].json["statusCode"] == 429


async def test_requests_without_the_key_do_not_count(start: Start) -> None:
    api = await start(rate_limit=(1, 60.0))
    for _ in range(3):
        assert (await api("GET", "users", headers={"Authorization": None})).status == 401
    assert (await api.get("users")).status == 200


@pytest.mark.thorough
async def test_limit_is_over_when_its_time_is(start: Start) -> None:
    api = await start(rate_limit=(1, 1.0))
    began = time.monotonic()
    assert (await api.get("users")).status == 200
    refused = 0
    async with asyncio.timeout(60):
        while (await api.get("users")).status == 429:
            refused += 1
    taken = time.monotonic() - began
    assert taken >= 1.0
    assert refused > 0 or taken > 1.5  # unless this machine was busy with other things


async def test_account_limit_is_the_provider_speaking(start: Start) -> None:
    narrow = Sandbox().account_ids[1]
    api = await start(account_limits={narrow: (1, 60.0)})
    replies = [await api.get("users", account=n) for n in (0, 1, 1, 0, 2)]
    assert [reply.status for reply in replies] == [200, 200, 429, 200, 200]
    assert replies[2].json["provider_errors"][0]["status"] == 429
    assert int(replies[2].headers["Retry-After"]) > 0


def test_account_limits_of_unknown_accounts_are_refused() -> None:
    with pytest.raises(ValueError, match="account_limits"):
        Sandbox(account_limits={"acct_nobody": (1, 1.0)})


async def test_too_many_at_a_time_are_503(start: Start) -> None:
    api = await start(max_in_flight=3, latency=0.2)
    replies = await asyncio.gather(*(api.get("users") for _ in range(8)))
    assert Counter(reply.status for reply in replies) == {200: 3, 503: 5}
    assert (await api.get("users")).status == 200


@pytest.mark.thorough
async def test_there_is_no_limit_by_default(api: Client) -> None:
    replies = await asyncio.gather(*(api.get("skills", "page_size=1") for _ in range(1500)))
    assert {reply.status for reply in replies} == {200}


async def statuses(api: Client, count: int) -> list[int]:
    return [(await api.get("users", "page_size=1")).status for _ in range(count)]


async def test_random_faults_come_at_their_rate_and_from_the_seed(start: Start) -> None:
    faults: Any = {"status": [500, 503], "rate": 0.3, "retry_after": 7}
    first = await statuses(await start(faults=faults), 200)
    assert set(first) == {200, 500, 503}
    assert 30 < len(first) - first.count(200) < 90
    assert await statuses(await start(faults=faults), 200) == first
    assert await statuses(await start(faults=faults, seed=2), 200) != first


async def test_faults_are_503_at_one_percent_by_default(start: Start) -> None:
    answered = Counter(await statuses(await start(faults={}), 1000))
    assert set(answered) == {200, 503}
    assert answered[503] < 40


@pytest.mark.parametrize("faults", [{"rate": 1.5}, {"rate": -0.1}, {"status": []}, {"status": 200}])
def test_faults_that_make_no_sense_are_refused(faults: Any) -> None:
    with pytest.raises(ValueError, match=r"fault|failure"):
        Sandbox(faults=faults)


async def test_next_requests_fail_as_asked(api: Client) -> None:
    api.sandbox.fail_next(503, times=2, retry_after=3)
    replies = [await api.get("users") for _ in range(3)]
    assert [reply.status for reply in replies] == [503, 503, 200]
    assert replies[0].headers["Retry-After"] == "3"
    assert "Retry-After" not in replies[2].headers


async def test_failures_can_wait_for_a_path(api: Client) -> None:
    api.sandbox.fail_next(500, path_contains="/users")
    api.sandbox.fail_next(408, path_contains="/courses")
    assert [(await api.get(path)).status for path in ("courses", "skills", "users", "users")] == [408, 200, 500, 200]


async def test_failure_can_name_an_error_code_and_a_502_tells_what_the_provider_said(api: Client) -> None:
    api.sandbox.fail_next(401, error_code="AccountExpiredCredentialsError")
    api.sandbox.fail_next(502)
    assert (await api.get("users")).json["errorCode"] == "AccountExpiredCredentialsError"
    assert (await api.get("users")).json["provider_errors"]


async def test_failure_after_the_fact_leaves_the_effect(api: Client) -> None:
    before = (await api.get("content")).json["total"]
    api.sandbox.fail_next(504)
    assert (await api("PUT", "content", json={"external_reference": "A"})).status == 504
    assert (await api.get("content")).json["total"] == before
    api.sandbox.fail_next(504, after=True)
    assert (await api("PUT", "content", json={"external_reference": "A"})).status == 504
    assert (await api.get("content")).json["total"] == before + 1


@pytest.mark.parametrize(("status", "times"), [(200, 1), (302, 1), (600, 1), (503, 0)])
def test_failures_that_are_none_are_refused(status: int, times: int) -> None:
    with pytest.raises(ValueError, match=r"status|times"):
        Sandbox().fail_next(status, times=times)
