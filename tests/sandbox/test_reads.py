"""Gets: ids, `fields`, `raw`, `proxy`."""

from base64 import urlsafe_b64encode
from urllib.parse import quote

import pytest

from stackone_lms.sandbox.store import TABLES

from .client import Client

READABLE = [table for table in TABLES if table != "collections"]


@pytest.mark.parametrize("account", [0, 1, 2])
@pytest.mark.parametrize("table", READABLE)
async def test_each_record_is_got_by_either_id(api: Client, table: str, account: int) -> None:
    ids = api.sandbox.ids(table, api.sandbox.account_ids[account])
    for id in (ids[0], ids[-1]):
        reply = await api.get(f"{table}/{id}", account=account)
        assert (reply.status, reply.data["id"]) == (200, id)
        by_provider_id = await api.get(f"{table}/{quote(reply.data['remote_id'], safe='')}", account=account)
        assert by_provider_id.body == reply.body


async def test_ids_are_the_mark_and_the_encoded_provider_id(api: Client) -> None:
    user = (await api.get("users", account=2)).data[0]
    escaped = user["remote_id"].replace(":", "\\:").replace(",", "\\,")
    encoded = urlsafe_b64encode(f"id:{escaped}".encode()).decode().rstrip("=")
    assert user["id"] == f"c28xIQ{encoded}"
    assert set(" /#:,") <= set(user["remote_id"])


@pytest.mark.parametrize("id", ["none", "c28xIQaWQ6bm9uZQ", "..", "%2e%2e", "a%2Fb", "%E2%82%AC", "batch"])
async def test_unknown_ids_are_404_with_what_the_provider_said(api: Client, id: str) -> None:
    reply = await api.get(f"content/{id}")
    assert reply.status == 404
    assert reply.json["provider_errors"][0]["status"] == 404


async def test_ids_of_another_account_are_404(api: Client) -> None:
    assert (await api.get(f"users/{api.sandbox.ids('users')[0]}", account=1)).status == 404


async def test_bad_escapes_are_400(api: Client) -> None:
    assert (await api.get("users/%FF")).status == 400
    assert (await api.get("users", "fields=%FF")).status == 400


async def test_slash_without_an_id_asks_for_the_list(api: Client) -> None:
    assert isinstance((await api.get("users/")).data, list)


async def test_record_of_a_user_is_got_under_that_user_only(api: Client) -> None:
    for table in ("assignments", "completions"):
        record = (await api.get(table)).data[0]
        owner, id = record["user_id"], record["id"]
        other = next(user for user in api.sandbox.ids("users") if user != owner)
        assert (await api.get(f"users/{owner}/{table}/{id}")).data == record
        assert (await api.get(f"users/{record['remote_user_id']}/{table}/{record['remote_id']}")).data == record
        assert (await api.get(f"users/{other}/{table}/{id}")).status == 404
        assert (await api.get(f"users/none/{table}/{id}")).status == 404


async def test_fields_keep_what_is_asked_and_the_id(api: Client) -> None:
    id = api.sandbox.ids("completions")[0]
    whole = (await api.get(f"completions/{id}")).data
    narrow = (await api.get(f"completions/{id}", "fields=result,%20user_id,nonsense")).data
    assert narrow == {name: whole[name] for name in ("id", "result", "user_id")}
    assert (await api.get(f"completions/{id}", "fields=")).data == whole
    assert (await api.get(f"completions/{id}", "fields=,")).data == whole


async def test_fields_narrow_lists_too(api: Client) -> None:
    data = (await api.get("users", "fields=email")).data
    assert [set(user) for user in data] == [{"id", "email"}] * len(data)


async def test_raw_shows_the_provider_call_with_what_was_proxied(api: Client) -> None:
    id = api.sandbox.ids("completions")[0]
    query = "raw=true&proxy%5Binclude%5D=a%20b&proxy[filter][eq][age]=25&proxy%5Bids%5D=1&proxy%5Bids%5D=2"
    answer = (await api.get(f"completions/{id}", query)).json
    (call,) = answer["raw"]
    remote_id = answer["data"]["remote_id"]
    assert call["method"] == "GET"
    assert call["url"] == (
        f"https://api.kestrel.example/v1/completions/{remote_id}?include=a%20b&filter[eq][age]=25&ids=1&ids=2"
    )
    assert call["response"]["id"] == remote_id
    assert call["response"]["userId"] == answer["data"]["remote_user_id"]


@pytest.mark.parametrize("table", READABLE)
async def test_provider_knows_nothing_of_stackone_ids(api: Client, table: str) -> None:
    (call,) = (await api.get(table, "raw=true&page_size=100")).json["raw"]
    assert call["response"]["items"]
    assert "c28xIQ" not in str(call["response"])


async def test_both_ways_to_write_a_nested_proxy_parameter_are_the_same(api: Client) -> None:
    id = api.sandbox.ids("users")[0]
    nested = await api.get(f"users/{id}", "raw=true&proxy[filter][eq][age]=25")
    flat = await api.get(f"users/{id}", "raw=true&proxy[filter[eq][age]]=25")
    assert nested.body == flat.body
    assert b"?filter[eq][age]=25" in nested.body


@pytest.mark.parametrize("query", ["", "raw=false", "proxy[a]=b", "raw="])
async def test_without_raw_there_is_no_raw(api: Client, query: str) -> None:
    assert set((await api.get(f"users/{api.sandbox.ids('users')[0]}", query)).json) == {"data"}
    assert set((await api.get("users", query)).json) == {"next", "data"}


async def test_raw_of_a_list_shows_the_page_of_the_provider(api: Client) -> None:
    answer = (await api.get("users", "raw=true&page_size=3&proxy[team]=x")).json
    (call,) = answer["raw"]
    assert call["url"] == "https://api.kestrel.example/v1/users?limit=3&offset=0&team=x"
    assert [item["id"] for item in call["response"]["items"]] == [user["remote_id"] for user in answer["data"]]


@pytest.mark.parametrize(
    "query",
    ["raw=yes", "raw=true&raw=true", "proxy=x", "fields=a&fields=b", "proxy=x&proxy[a]=b", "proxy[a]=b&proxy=x"],
)
async def test_parameters_of_the_wrong_form_are_400(api: Client, query: str) -> None:
    for path in ("users", f"users/{api.sandbox.ids('users')[0]}"):
        reply = await api.get(path, query)
        assert reply.status == 400, query
        assert reply.json["errors"]


async def test_queries_may_be_long(api: Client) -> None:
    assert (await api.get("users", "fields=email," + "x" * 50_000)).status == 200


async def test_unknown_parameters_are_ignored(api: Client) -> None:
    id = api.sandbox.ids("users")[0]
    assert (await api.get(f"users/{id}", "status=x&sort=name")).body == (await api.get(f"users/{id}")).body
