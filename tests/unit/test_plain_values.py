"""Numbers and words that people type: options as plain numbers, and what is said where something else was meant."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient, RateLimit, RetryPolicy, SyncClient, Timeout
from stackone_lms.base_client import bound_executor_of
from stackone_lms.calls.operation import executor_of
from stackone_lms.errors import ConfigurationError, InvalidArgumentError
from stackone_lms.options import VIEW_OPTIONS
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, record

KINDS = [AsyncClient, SyncClient]


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest) -> Any:
    return request.param(KEY, ACCOUNT, transport=FakeTransport(record()))


@pytest.mark.parametrize("kind", KINDS)
def test_plain_numbers_are_seconds_attempts_and_requests_a_minute(kind: Any) -> None:
    settings = bound_executor_of(kind(KEY, ACCOUNT, timeout=30, retry=5)).settings
    assert (settings.timeout, settings.retry) == (Timeout(total=30), RetryPolicy(attempts=5))
    view = kind(KEY, ACCOUNT).with_options(timeout=2.5, retry=1)
    settings = bound_executor_of(view).settings
    assert (settings.timeout, settings.retry) == (Timeout(total=2.5), RetryPolicy(attempts=1))
    stats = kind(KEY, ACCOUNT, rate_limit=500).stats()
    assert (stats.limit, stats.per) == (500, 60.0)
    assert stats.rate == kind(KEY, ACCOUNT, rate_limit=RateLimit(500)).stats().rate


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timeout", 0, "timeout: .*total must be a finite number, more than 0"),
        ("timeout", "30", "timeout must be a number or a Timeout, not str"),
        ("timeout", True, "not bool"),
        ("timeout", None, "not NoneType"),
        ("timeout", float("nan"), "finite"),
        ("retry", 0, "retry: .*attempts must be a whole number, 1 or more"),
        ("retry", 2.5, "attempts must be a whole number"),
        ("retry", False, "retry must be a number or a RetryPolicy, not bool"),
    ],
)
def test_what_is_no_such_number_is_refused(kind: Any, name: str, value: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        kind(KEY, ACCOUNT, **{name: value})
    with pytest.raises(InvalidArgumentError, match=message):
        kind(KEY, ACCOUNT).with_options(**{name: value})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, -1, 1.5, "500", True])
def test_what_is_no_rate_limit_is_refused(kind: Any, value: object) -> None:
    with pytest.raises(ConfigurationError, match="rate_limit"):
        kind(KEY, ACCOUNT, rate_limit=value)


@pytest.mark.parametrize("name", sorted(VIEW_OPTIONS))
@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("get", ("c",)),
        ("list", ()),
        ("get_many", (["c"],)),
        ("create", ("u",)),
    ],
)
async def test_an_option_of_a_view_given_to_a_call_is_told_its_place(
    client: Any, name: str, call: str, args: Any
) -> None:
    resource = client.users.completions if call == "create" else client.completions
    with pytest.raises(TypeError, match=rf"{call}\(\) .*'{name}'; write client\.with_options\({name}=\.\.\.\)"):
        pending = getattr(resource, call)(*args, **{name: 3})
        if isinstance(client, AsyncClient):
            await pending


@pytest.mark.parametrize("name", sorted(VIEW_OPTIONS))
@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("content.batch_upsert", [{"external_reference": "e"}]),
        ("content.upsert", {"external_reference": "e"}),
        ("accounts.get", "a"),
        ("accounts.list", None),
        ("logs.get", "l"),
        ("logs.wait", None),
        ("connect_sessions.create", None),
        ("connect_sessions.authenticate", "t"),
    ],
)
async def test_so_it_is_of_batches_and_of_what_belongs_to_no_account(
    client: Any, name: str, call: str, argument: Any
) -> None:
    if (call, name) in {("logs.wait", "timeout"), ("connect_sessions.create", "account_id")}:
        return  # these have one of their own
    arguments = () if argument is None and call != "logs.wait" else (argument,)
    method = operator.attrgetter(call)(client)
    with pytest.raises(TypeError, match=rf"{call.rpartition('.')[2]}\(\) .*'{name}'; write client\.with_options\("):
        pending = method(*arguments, **{name: 3})
        if isinstance(client, AsyncClient):
            await pending


async def ids_asynchronously() -> Any:
    yield "a"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "not NoneType"),
        (5, "not int"),
        ("acct", "not str"),
        (b"acct", "not bytes"),
        ({"acct": ["id"]}, r"a mapping from accounts to ids is for get_many\(\)"),
        ([], "there are no account ids"),
        ([["acct"]], "account id must be a string, not list"),
        (["acct", None], "one of them is None"),
        ([5], "account id must be a string, not int"),
        (["acct", "a b"], "'a b', one of the account ids, holds white space"),
    ],
)
def test_what_are_no_accounts_is_refused(client: Any, given: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        client.for_accounts(given)


def test_an_asynchronous_iterator_of_accounts_is_refused(client: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="not async_generator"):
        client.for_accounts(ids_asynchronously())


def test_accounts_come_from_a_file(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "accounts.txt"
    path.write_text("\ufeffacct-1\n\n  acct-2 \nacct-1\n", "utf-8")
    assert len(client.for_accounts(path)) == 2
    with pytest.raises(InvalidArgumentError, match=r"the account ids cannot be read: .*missing\.txt"):
        client.for_accounts(tmp_path / "missing.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidArgumentError, match="cannot be read"):
        client.for_accounts(path)


def test_accounts_come_from_a_generator(client: Any) -> None:
    def ids() -> Iterator[str]:
        yield from ("acct-1", "acct-2")

    each = client.for_accounts(ids())
    assert len(each) == 2
    assert executor_of(each) is not executor_of(client)
