"""Who gets in, and how the rest is turned away."""

from base64 import b64encode
from collections.abc import Callable

import pytest

from .client import Client, Response
from .conftest import Start


def assert_error(reply: Response, status: int) -> None:
    body = reply.json
    assert reply.status == status
    assert body["statusCode"] == status
    assert isinstance(body["message"], str)
    assert body["timestamp"].endswith("Z")
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"


async def test_key_as_user_name_and_empty_password_get_in(api: Client) -> None:
    assert (await api.get("users")).status == 200


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


OTHERS: list[Callable[[str], str | None]] = [
    lambda key: None,
    lambda key: "",
    lambda key: f"Bearer {key}",
    basic,
    lambda key: basic(f":{key}"),
    lambda key: basic(f"{key}:x"),
    lambda key: basic("v1.other.key:"),
    lambda key: "Basic",
]


@pytest.mark.parametrize("number", range(len(OTHERS)))
async def test_any_other_authorization_is_401(api: Client, number: int) -> None:
    authorization = OTHERS[number](api.sandbox.api_key)
    assert_error(await api("GET", "users", headers={"Authorization": authorization}), 401)


async def test_scheme_of_the_authorization_is_case_insensitive(api: Client) -> None:
    credentials = basic(f"{api.sandbox.api_key}:").replace("Basic", "bAsIc")
    assert (await api("GET", "users", headers={"Authorization": credentials})).status == 200


async def test_own_key_replaces_the_default_one(start: Start) -> None:
    api = await start(api_key="v1.eu1.mine")
    assert (await api.get("users")).status == 200
    default = basic("v1.sandbox.a-key-for-the-sandbox-only:")
    assert (await api("GET", "users", headers={"Authorization": default})).status == 401


@pytest.mark.parametrize("agent", [None, "", "  "])
async def test_no_user_agent_is_403_even_before_the_key_is_looked_at(api: Client, agent: str | None) -> None:
    assert_error(await api("GET", "users", headers={"User-Agent": agent, "Authorization": None}), 403)


@pytest.mark.parametrize("account", [None, ""])
async def test_missing_account_id_is_400(api: Client, account: str | None) -> None:
    reply = await api("GET", "users", headers={"x-account-id": account})
    assert_error(reply, 400)
    assert "x-account-id" in reply.json["errors"][0]


async def test_unknown_account_id_is_404(api: Client) -> None:
    assert_error(await api("GET", "users", headers={"x-account-id": "acct_nobody"}), 404)


async def test_inactive_account_is_412_with_its_error_code(api: Client) -> None:
    reply = await api("GET", "users", headers={"x-account-id": api.sandbox.inactive_account_id})
    assert_error(reply, 412)
    assert reply.json["errorCode"] == "AccountIntegrationInactiveError"


async def test_accounts_have_data_of_their_own(start: Start) -> None:
    api = await start(accounts=4)
    assert len(set(api.sandbox.account_ids) | {api.sandbox.inactive_account_id}) == 5
    pages = [(await api.get("users", account=n)).data for n in range(4)]
    ids = {user["id"] for page in pages for user in page}
    assert len(ids) == sum(len(page) for page in pages)


@pytest.mark.parametrize(
    "path",
    ["/", "/unified", "/unified/lms", "/unified/lms/", "/unified/hris/users", "nothing", "users/1/2", "a/b/c/d/e"],
)
async def test_unknown_paths_are_404(api: Client, path: str) -> None:
    assert_error(await api.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "users", "GET"),
        ("GET", "collections", "POST"),
        ("POST", "content", "GET, PUT"),
        ("PUT", "users/1/completions/2", "DELETE, GET"),
    ],
)
async def test_methods_that_a_path_does_not_have_are_405(api: Client, method: str, path: str, allow: str) -> None:
    reply = await api(method, path)
    assert_error(reply, 405)
    assert reply.headers["Allow"] == allow


async def test_every_answer_has_a_request_id_of_its_own(api: Client) -> None:
    replies = [await api.get("users"), await api.get("users/none"), await api("GET", "x", headers={"User-Agent": None})]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3


async def test_errors_are_stamped_by_the_clock(start: Start, fixed_clock: object) -> None:
    api = await start(clock=fixed_clock)
    assert (await api.get("users/none")).json["timestamp"] == "2031-02-03T04:05:06.789Z"


async def test_odd_errors_leave_out_the_timestamp(start: Start) -> None:
    api = await start(odd_values=True)
    assert "timestamp" not in (await api.get("users/none")).json
    assert "timestamp" in (await api("GET", "users", headers={"Authorization": None})).json
