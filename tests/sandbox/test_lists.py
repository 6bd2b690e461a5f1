"""Lists: pages, cursors, filters."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from typing import Any

import pytest

from .client import Client
from .conftest import Start
from .test_reads import READABLE


@pytest.mark.parametrize("table", READABLE)
@pytest.mark.parametrize("size", [1, 7, 25, 100])
async def test_each_record_comes_once_whatever_the_page_size(api: Client, table: str, size: int) -> None:
    items = await api.all(table, f"page_size={size}")
    assert [item["id"] for item in items] == api.sandbox.ids(table)


async def test_page_size_is_25_by_default_and_100_at_most(api: Client) -> None:
    assert len((await api.get("completions")).data) == 25
    assert len((await api.get("completions", "page_size=")).data) == 25
    assert len((await api.get("completions", "page_size=3")).data) == 3
    assert len((await api.get("completions", "page_size=100000")).data) == 100


async def test_some_pages_are_empty_or_short_with_a_cursor(api: Client) -> None:
    sizes = [len(page["data"]) async for page in api.pages("completions", "page_size=10")]
    assert sizes[:5] == [10, 0, 10, 5, 10]
    assert sum(sizes) == 120


async def test_pages_are_full_if_early_returns_are_off(start: Start) -> None:
    api = await start(empty_pages=False)
    assert [len(page["data"]) async for page in api.pages("completions", "page_size=50")] == [50, 50, 20]


async def test_no_cursor_comes_twice(api: Client) -> None:
    cursors = [page["next"] async for page in api.pages("completions", "page_size=2")]
    assert len(set(cursors)) == len(cursors)


async def test_cursors_are_base64url_json_that_holds_a_position_and_not_the_query(api: Client) -> None:
    cursor = (await api.get("users", "page_size=4&filter[updated_after]=2020-01-01")).json["next"]
    content = json.loads(urlsafe_b64decode(cursor + "=="))
    assert content["v"] == 2
    assert content["r"] == {"lms_list_users": {"n": 2, "c": None, "p": 4}}
    again = (await api.get("users", "page_size=2")).json["next"]
    assert json.loads(urlsafe_b64decode(again + "=="))["r"]["lms_list_users"]["p"] == 2


async def test_same_cursor_gives_the_same_page(api: Client) -> None:
    cursor = (await api.get("users", "page_size=4")).json["next"]
    pages = [await api.get("users", f"page_size=4&next={cursor}") for _ in range(2)]
    assert pages[0].body == pages[1].body


def forged(content: object) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "2",
        "%00",
        "%C3%A9",
        forged([]),
        forged("x"),
        forged({"r": {}}),
        forged({"r": {"lms_list_courses": {"n": 2, "c": None, "p": 4}}}),
        forged({"r": {"lms_list_users": {"n": 2, "c": None, "p": "4"}}}),
        forged({"r": {"lms_list_users": {"n": 2, "c": None, "p": -1}}}),
        forged({"r": {"lms_list_users": {"n": 0, "c": None, "p": 1}}}),
        forged({"r": {"lms_list_users": {"n": True, "c": None, "p": True}}}),
        urlsafe_b64encode(b"[" * 20_000).decode(),
    ],
)
async def test_bad_cursors_are_400(api: Client, cursor: str) -> None:
    reply = await api.get("users", f"next={cursor}")
    assert reply.status == 400
    assert reply.json["errors"] == ["next is not a cursor of this list"]


async def test_cursor_past_the_end_gives_an_empty_last_page(api: Client) -> None:
    cursor = forged({"r": {"lms_list_users": {"n": 3, "c": None, "p": 10_000}}})
    assert (await api.get("users", f"next={cursor}")).json == {"next": None, "data": []}


@pytest.mark.parametrize("query", ["page_size=0", "page_size=-1", "page_size=x", "page_size=1.5", "page=0", "page=x"])
async def test_bad_page_parameters_are_400(api: Client, query: str) -> None:
    assert (await api.get("users", query)).status == 400


async def test_deprecated_page_number_still_works(api: Client) -> None:
    first, second = [(await api.get("users", f"page={n}&page_size=8")).data for n in (1, 2)]
    assert [user["id"] for user in first + second] == api.sandbox.ids("users")[:16]


@pytest.mark.parametrize("table", READABLE)
async def test_only_courses_and_content_tell_the_total(api: Client, table: str) -> None:
    page = (await api.get(table, "page_size=1")).json
    if table in ("courses", "content"):
        assert page["total"] == len(api.sandbox.ids(table))
        assert page["next_page"] == page["next"]
    else:
        assert not {"total", "next_page"} & set(page)


async def test_total_counts_what_matches(api: Client) -> None:
    everything = await api.all("content")
    active = [item for item in everything if item["active"] in (True, "true")]
    assert 0 < len(active) < len(everything)
    assert (await api.get("content", "filter[active]=true")).json["total"] == len(active)


@pytest.mark.parametrize("table", ["assignments", "completions", "content", "courses", "users"])
@pytest.mark.parametrize("form", ["filter[updated_after]={}", "filter%5Bupdated_after%5D={}", "updated_after={}"])
async def test_updated_after_keeps_what_changed_later(api: Client, table: str, form: str) -> None:
    everything = await api.all(table)
    middle = sorted(item["updated_at"] for item in everything)[len(everything) // 2]
    kept = await api.all(table, "page_size=100&" + form.format(middle))
    expected = [item["id"] for item in everything if item["updated_at"] > middle]
    assert 0 < len(expected) < len(everything)
    assert [item["id"] for item in kept] == expected


@pytest.mark.parametrize("table", ["categories", "skills"])
async def test_updated_after_works_where_records_do_not_show_when_they_changed(api: Client, table: str) -> None:
    kept = await api.all(table, "filter[updated_after]=2025-01-01T00:00:00Z")
    assert 0 < len(kept) < len(api.sandbox.ids(table))


async def test_moments_are_compared_whatever_their_zone(api: Client) -> None:
    users = await api.all("users")
    newest = max(user["updated_at"] for user in users)
    same = newest.replace("Z", "%2B00:00")
    assert await api.all("users", f"filter[updated_after]={same}") == []
    earlier = newest.replace("Z", "%2B01:00")
    assert newest in [user["updated_at"] for user in await api.all("users", f"filter[updated_after]={earlier}")]


async def test_filter_wins_over_the_deprecated_parameter(api: Client) -> None:
    query = "updated_after=2099-01-01&filter[updated_after]=2000-01-01"
    assert len(await api.all("users", query)) == 20


@pytest.mark.parametrize("status", ["pending", "in_progress", "completed", "unmapped_value"])
async def test_status_filter(api: Client, status: str) -> None:
    kept = await api.all("assignments", f"filter[status]={status}")
    expected = [item for item in await api.all("assignments") if item["status"]["value"] == status]
    assert expected
    assert kept == expected


async def test_active_filter_takes_true_only(api: Client) -> None:
    kept = await api.all("courses", "filter[active]=true")
    assert kept == [item for item in await api.all("courses") if item["active"] in (True, "true")]
    for value in ("false", "1", "True"):
        assert (await api.get("courses", f"filter[active]={value}")).status == 400


async def test_email_and_external_reference_filters(api: Client) -> None:
    user = (await api.all("users"))[3]
    assert await api.all("users", f"filter[email]={user['email'].upper()}") == [user]
    assert await api.all("users", f"filter[external_reference]={user['external_reference']}") == [user]
    assert await api.all("users", "filter[email]=nobody@example.com") == []
    course = (await api.all("courses"))[1]
    assert await api.all("courses", f"filter[external_reference]={course['external_reference']}") == [course]


async def test_filters_add_up(api: Client) -> None:
    user = (await api.all("users"))[3]
    query = f"filter[email]={user['email']}&filter[updated_after]={user['updated_at']}"
    assert await api.all("users", query) == []


@pytest.mark.parametrize(
    ("table", "query"),
    [
        ("users", "filter=x"),
        ("users", "filter[status]=pending"),
        ("users", "filter[updated_after]=yesterday"),
        ("users", "filter[updated_after]=2024-13-01"),
        ("users", "filter[updated_after][gt]=2024-01-01"),
        ("users", "filter[email]=a&filter[email]=b"),
        ("users", "updated_after=yesterday"),
        ("assignments", "filter[status]=Completed"),
        ("completions", "filter[status]=completed"),
        ("content", "filter[external_reference]=x"),
    ],
)
async def test_filters_that_a_list_does_not_have_or_understand_are_400(api: Client, table: str, query: str) -> None:
    reply = await api.get(table, query)
    assert reply.status == 400
    assert reply.json["errors"]


async def test_flat_status_is_no_filter(api: Client) -> None:
    assert len(await api.all("assignments", "status=pending")) == 60


async def test_empty_filter_values_are_none(api: Client) -> None:
    assert len(await api.all("users", "filter[email]=&filter[updated_after]=&updated_after=")) == 20


async def test_lists_of_a_user_hold_what_is_theirs(api: Client) -> None:
    for table in ("assignments", "completions"):
        everything = await api.all(table)
        owner = everything[0]["user_id"]
        expected = [item for item in everything if item["user_id"] == owner]
        assert await api.all(f"users/{owner}/{table}") == expected
        assert await api.all(f"users/{everything[0]['remote_user_id']}/{table}") == expected
        assert (await api.get(f"users/none/{table}")).status == 404


async def test_assignments_are_narrowed_by_user(api: Client) -> None:
    everything = await api.all("assignments")
    first: dict[str, Any] = everything[0]
    expected = [item for item in everything if item["user_id"] == first["user_id"]]
    assert len(expected) < len(everything)
    for query in (
        f"user_id={first['user_id']}",
        f"user_id={first['remote_user_id']}",
        f"remote_user_id={first['remote_user_id']}",
        f"user_id={first['user_id']}&remote_user_id={first['remote_user_id']}",
    ):
        assert await api.all("assignments", query) == expected
        assert await api.all(f"users/{first['user_id']}/assignments", query) == expected
    other = next(item["user_id"] for item in everything if item["user_id"] != first["user_id"])
    assert await api.all(f"users/{first['user_id']}/assignments", f"user_id={other}") == []
    assert await api.all("assignments", "user_id=none") == []


async def test_user_id_means_nothing_to_other_lists(api: Client) -> None:
    assert len(await api.all("completions", "user_id=none&page_size=100")) == 120


async def test_nested_lists_page_and_filter_too(api: Client) -> None:
    owners = Counter(item["user_id"] for item in await api.all("completions"))
    owner, count = owners.most_common(1)[0]
    everything = await api.all(f"users/{owner}/completions")
    assert len(everything) == count > 4
    assert await api.all(f"users/{owner}/completions", "page_size=1") == everything
    assert await api.all(f"users/{owner}/completions", "filter[updated_after]=2099-01-01") == []
