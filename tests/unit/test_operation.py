"""Operations as methods: signature, help, and what a caller gets wrong."""

from __future__ import annotations

import asyncio
import inspect
import pydoc
import warnings
from operator import attrgetter
from typing import Any

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.api.operations import operations
from stackone_lms.api.resources import Completions, UserCompletions
from stackone_lms.calls.lists import AsyncPager, SyncPager
from stackone_lms.calls.operation import Operation
from stackone_lms.calls.outcomes import AccountOutcome, AsyncOutcomes, SyncOutcomes
from stackone_lms.calls.query import GetQuery, ListQuery
from stackone_lms.errors import InvalidArgumentError, NotFoundError
from stackone_lms.models import Completion, CompletionResult
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, error, record

transport = FakeTransport(record())
aio = AsyncClient(KEY, ACCOUNT, transport=transport)
blocking = SyncClient(KEY, ACCOUNT, transport=transport)

RESOURCES = ["assignments", "categories", "completions", "content", "courses", "skills", "users"]
READS = [
    f"{name}.{verb}" for name in [*RESOURCES, "users.assignments", "users.completions"] for verb in ("get", "list")
]


def method(client: Any, dotted: str) -> Any:
    found = client
    for name in dotted.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("client", [aio, blocking], ids=["aio", "blocking"])
@pytest.mark.parametrize("dotted", READS)
def test_every_read_shows_its_keywords_its_operation_and_its_answer(client: Any, dotted: str) -> None:
    call = method(client, dotted)
    signature = inspect.signature(call)
    ids = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_ONLY]
    named = {p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert len(ids) + len(named) == len(signature.parameters)
    verb = dotted.rpartition(".")[2]
    assert len(ids) == dotted.count("users.") * (dotted.count(".") == 2) + (verb == "get")
    assert named >= (GetQuery if verb == "get" else ListQuery).__annotations__.keys()
    assert (named == GetQuery.__annotations__.keys()) is (verb == "get")
    assert call.__name__ == verb
    text = pydoc.plain(pydoc.render_doc(call))
    assert f"API: GET /unified/lms/{dotted.partition('.')[0]}" in text
    assert "(lms_" in text
    assert "proxy: Parameters passed on to the provider" in text
    assert "Raises:" in text
    assert "Unpack" not in text


def test_the_signature_names_what_is_returned() -> None:
    each = aio.for_accounts(["a"]).completions
    returned: Any = inspect.signature(each.get).return_annotation
    assert returned == AsyncOutcomes[AccountOutcome[CompletionResult]]
    returned = inspect.signature(blocking.for_accounts(["a"]).completions.list).return_annotation
    assert returned == SyncOutcomes[AccountOutcome[Completion]]
    assert inspect.signature(aio.completions.get).return_annotation is CompletionResult
    assert inspect.signature(aio.completions.list).return_annotation == AsyncPager[Completion]
    assert inspect.signature(blocking.completions.list).return_annotation == SyncPager[Completion]


def test_names_are_those_of_a_method() -> None:
    call: Any = aio.users.completions.get
    assert (call.__qualname__, call.__module__) == ("users.completions.get", "stackone_lms.api.resources")
    assert list(inspect.signature(call).parameters)[:2] == ["user_id", "id"]


def test_help_on_a_resource_lists_its_operations() -> None:
    text = pydoc.plain(pydoc.render_doc(UserCompletions))
    for name in ("get", "list", "create", "delete"):
        assert f"{name} =" in text or f" {name}(" in text
    assert Completions.get.__doc__
    assert Completions.get.__doc__.startswith("Get one record.")


def test_an_operation_can_be_looked_at_without_a_client() -> None:
    operation: Operation[CompletionResult] = Completions.get.operation
    assert (operation.id, operation.method, operation.path) == (
        "lms_get_completion",
        "GET",
        "/unified/lms/completions/{id}",
    )
    assert operation.answer is CompletionResult
    assert repr(operation) == "<completions.get: GET /unified/lms/completions/{id}>"
    assert operation.keywords == {"raw", "fields", "proxy"}
    assert UserCompletions.list.operation.path_of(("u/1",)) == "/unified/lms/users/u%2F1/completions"
    assert UserCompletions.get.operation.path_of(("u", "c")) == "/unified/lms/users/u/completions/c"
    assert Completions.list.operation.path_of(()) == "/unified/lms/completions"


@pytest.mark.parametrize("client", [aio, blocking], ids=["aio", "blocking"])
@pytest.mark.parametrize(
    ("dotted", "ids", "keywords", "message"),
    [
        ("completions.get", (), {}, r"completions.get\(\) takes 1 id\(s\) by position, 0 given"),
        ("completions.get", ("a", "b"), {}, "1 id.* 2 given"),
        ("completions.get", (), {"id": "a"}, "1 id.* 0 given"),
        (
            "completions.get",
            ("a",),
            {"feilds": "id"},
            "unexpected keyword argument 'feilds'; allowed: fields, proxy, raw",
        ),
        ("completions.get", ("a",), {"next": "x"}, "unexpected keyword argument 'next'"),
        ("completions.list", ("a",), {}, "0 id.* 1 given"),
        ("completions.list", (), {"email": "x"}, "unexpected keyword argument 'email'"),
        ("completions.list", (), {"active": True}, "unexpected keyword argument 'active'"),
        ("users.list", (), {"status": "x"}, "unexpected keyword argument 'status'"),
        ("users.completions.list", (), {}, "1 id.* 0 given"),
        ("users.completions.get", ("a",), {}, "2 id.* 1 given"),
        ("users.completions.delete", ("a",), {}, "2 id.* 1 given"),
        ("users.completions.delete", ("a", "b"), {"raw": True}, "unexpected keyword argument 'raw'; allowed: none"),
    ],
)
async def test_a_wrong_call_is_a_type_error(
    client: Any, dotted: str, ids: tuple[str, ...], keywords: dict[str, Any], message: str
) -> None:
    """Before any I/O: lists and blocking calls raise at once, coroutine functions where they are awaited."""
    call = method(client, dotted)
    with pytest.raises(TypeError, match=message):
        pending = call(*ids, **keywords)
        assert inspect.iscoroutinefunction(call)
        await pending
    assert transport.sent == []


@pytest.mark.parametrize("client", [aio, blocking], ids=["aio", "blocking"])
@pytest.mark.parametrize(
    ("dotted", "ids", "keywords"),
    [
        ("completions.list", (), {"page_size": 0}),
        ("completions.list", (), {"next": 5}),
        ("completions.list", (), {"next": "\ud800"}),
        ("completions.list", (), {"max_items": -1}),
        ("completions.list", (), {"max_items": 1.5}),
        ("completions.list", (), {"prefetch": 2}),
        ("completions.list", (), {"prefetch": True}),
        ("completions.list", (), {"updated_after": "yesterday"}),
        ("completions.list", (), {"filter": {5: "x"}}),
        ("users.completions.list", ("..",), {}),
        ("users.assignments.list", ("u",), {"status": "done"}),
    ],
)
def test_a_list_refuses_wrong_values_at_once(
    client: Any, dotted: str, ids: tuple[str, ...], keywords: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError):
        method(client, dotted)(*ids, **keywords)
    assert transport.sent == []


def test_methods_are_bound_once_and_survive_their_client() -> None:
    client = AsyncClient(KEY, ACCOUNT, transport=transport)
    assert client.completions.get is client.completions.get
    assert client.completions.get is not client.with_options(heartbeat=True).completions.get
    get = client.completions.get
    del client
    call = get("c1")
    assert inspect.iscoroutine(call)
    call.close()


def test_resources_show_what_they_belong_to() -> None:
    assert "async" in repr(aio.completions)
    assert repr(blocking.users.completions) == "<users.completions of a blocking client>"


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
@pytest.mark.parametrize(
    ("dotted", "args"),
    [
        ("collections.create", ({"title": "t"},)),
        ("collections.update", ("c", {"title": "t"})),
        ("content.update", ("c", {"external_reference": "e", "title": "t"})),
        ("courses.upsert", ({"title": "t"},)),
        ("courses.batch_upsert", ([{"title": "t"}],)),
    ],
)
def test_an_operation_that_left_the_api_warns_where_it_is_called(kind: Any, dotted: str, args: tuple[Any, ...]) -> None:
    client = kind(KEY, ACCOUNT, transport=FakeTransport(error(404)))

    async def awaiting() -> None:
        await method(client, dotted)(*args)

    def call() -> None:
        with pytest.raises(NotFoundError):
            asyncio.run(awaiting()) if kind is AsyncClient else method(client, dotted)(*args)

    with pytest.warns(DeprecationWarning, match="left the StackOne API by 2025-") as warned:
        call()
    assert [one.filename for one in warned] == [__file__]
    if kind is SyncClient:
        client.close()


def test_an_operation_of_the_newest_api_does_not_warn() -> None:
    client = SyncClient(KEY, ACCOUNT, transport=FakeTransport(error(404)))
    with warnings.catch_warnings(), pytest.raises(NotFoundError):
        warnings.simplefilter("error")
        client.content.upsert(external_reference="e", title="t")
    client.close()


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
def test_help_names_what_users_know(kind: type[AsyncClient | SyncClient]) -> None:
    """Not the classes that carry calls out; and every method by the name that it has on a client."""
    client: Any = kind("key", "account")
    methods = [attrgetter(f"{one.resource}.{one.verb}")(client) for one in operations()] + [
        client.users.get_many,
        client.accounts.get,
        client.logs.wait,
        client.connect_sessions.authenticate,
    ]
    for method in methods:
        text = pydoc.plain(pydoc.render_doc(method))
        assert f"method of stackone_lms.{kind.__name__} instance" in text
        assert "Executor" not in text + repr(method)
        assert eval(f"client.{method.__qualname__}", {"client": client}) == method
    view = client.for_accounts(["a", "b"])
    assert "method of stackone_lms.Accounts instance" in pydoc.plain(pydoc.render_doc(view.users.list))
    assert "Executor" not in pydoc.plain(pydoc.render_doc(kind))
