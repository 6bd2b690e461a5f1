"""What is to be read, as data: checked before anything is sent, and the same wherever it is taken."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from datetime import UTC, date, datetime
from typing import Any

import pytest

from stackone_lms import SyncClient
from stackone_lms.batches import Batch, Slice, batches, fields_for, schema
from stackone_lms.errors import InvalidArgumentError
from stackone_lms.export.lists import resources
from stackone_lms.sandbox import Sandbox


def first(client: SyncClient, what: Slice) -> Batch:
    walk = batches(client, what, batch_rows=1)
    try:
        return next(walk)
    finally:
        walk.close()


@pytest.mark.parametrize(
    "what",
    [
        Slice("completions", "123"),
        Slice("assignments", "1", filters={"status": "pending", "user_id": "u"}, columns=["id", "extra"], page_size=7),
        Slice("users.completions", "1", users=["x", "y"], updated_after=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_slice_is_data(what: Slice) -> None:
    """It pickles, copies, becomes JSON, compares, and has a hash; nobody changes it."""
    for other in (pickle.loads(pickle.dumps(what)), copy.deepcopy(what), Slice.from_json(what.to_json())):
        assert other == what
        assert hash(other) == hash(what)
    assert json.loads(what.to_json())["account_id"] == what.account_id
    assert what != what.at(None) or what.cursor is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        what.page_size = 1  # type: ignore[misc]
    filters: Any = what.filters
    with pytest.raises(TypeError):
        filters["status"] = "completed"


@pytest.mark.parametrize("given", [date(2026, 1, 1), "2026-01-01", datetime(2026, 1, 1), "2026-01-01T01:00:00+01:00"])  # noqa: DTZ001
def test_moments_are_kept_as_they_are_sent(given: Any) -> None:
    assert Slice("users", "1", updated_after=given).updated_after == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"resource": "nothing"}, "users.completions"),
        ({"account_id": ""}, "the account id"),
        ({"account_id": "a b"}, "the account id"),
        ({"columns": ["id", "nope"]}, "'nope'.*account_id, id"),
        ({"columns": ["id", "id"]}, "'id' is given twice"),
        ({"columns": []}, "at least one column"),
        ({"columns": "id"}, "several texts"),
        ({"filters": {"email": "x"}}, "'email'.*remote_user_id, status, user_id"),
        ({"filters": {"status": "nope"}}, "pending"),
        ({"filters": {"status": 1}}, "status must be a text"),
        ({"filters": {"updated_after": "2026-01-01"}}, "updated_after"),
        ({"filters": ["status"]}, "a mapping"),
        ({"page_size": 0}, "page_size"),
        ({"updated_after": "yesterday"}, "updated_after"),
        ({"users": ["x"]}, "lists of users"),
        ({"cursor": "eyJuIjoxfQ"}, "none that a batch"),
        ({"cursor": "?"}, "none that a batch"),
        ({"cursor": ""}, "none that a batch"),
        ({"cursor": 7}, "none that a batch"),
    ],
)
def test_what_cannot_be_is_told_at_once(changes: dict[str, Any], named: str) -> None:
    """With what is allowed instead."""
    given: dict[str, Any] = {"resource": "assignments", "account_id": "1", **changes}
    with pytest.raises(InvalidArgumentError, match=named):
        Slice(**given)


@pytest.mark.parametrize("users", [[], ["a", "a"], ["a b"], "a"])
def test_users_are_checked(users: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="user"):
        Slice("users.assignments", "1", users=users)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"resource":"users"}', '{"resource":"users","account_id":"1","x":1}']
)
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="JSON of a Slice"):
        Slice.from_json(text)


def test_the_cursor_of_another_list_is_refused_before_anything_is_sent(client: SyncClient, sandbox: Sandbox) -> None:
    """The API's own cursors would not tell: they would be answered with whatever."""
    one, other = sandbox.account_ids
    asked: dict[str, Any] = {"page_size": 10, "updated_after": "2020-01-01"}
    cursor = first(client, Slice("completions", one, **asked)).cursor
    assert cursor is not None
    before = sandbox.request_count
    with pytest.raises(InvalidArgumentError, match=f"is that of completions of account {one}; for users of account"):
        Slice("users", one, **asked, cursor=cursor)
    with pytest.raises(InvalidArgumentError, match=f"is that of completions of account {one}"):
        Slice("completions", other, **asked, cursor=cursor)
    different: list[dict[str, Any]] = [{"page_size": 11}, {"updated_after": "2021-01-01"}, {"columns": ["id"]}]
    for changes in different:
        with pytest.raises(InvalidArgumentError, match="with another"):
            Slice("completions", one, **{**asked, **changes}, cursor=cursor)
    assert Slice("completions", one, **asked, cursor=cursor).cursor == cursor
    assert sandbox.request_count == before


def test_a_cursor_of_the_api_is_told_from_one_of_a_batch(client: SyncClient, sandbox: Sandbox) -> None:
    page = client.with_options(account_id=sandbox.account_ids[0]).completions.list(page_size=10).first_page()
    with pytest.raises(InvalidArgumentError, match="none that a batch"):
        Slice("completions", sandbox.account_ids[0], cursor=page.next)


def test_the_fields_of_columns() -> None:
    """A column is of the field that it begins with; what has no field needs none."""
    assert fields_for("completions", None) is None
    assert fields_for("completions", ["id", "extra"]) is None
    assert fields_for("completions", ["result_source_value", "account_id", "id", "result_value"]) == "result,id"
    assert fields_for("users.completions", ["of_user_id", "account_id"]) == "id"
    with pytest.raises(InvalidArgumentError, match="'score'"):
        fields_for("completions", ["score"])


@pytest.mark.parametrize("resource", sorted(resources()))
def test_columns_narrow_the_schema_in_their_order(resource: str) -> None:
    whole: Any = schema(resource)
    chosen = list(reversed(whole.names))[::2]
    assert schema(resource, chosen).names == chosen
    narrow: Any = schema(resource, chosen)
    assert all(narrow.field(name) == whole.field(name) for name in chosen)
    assert whole.names[0] == "account_id"
    assert whole.names[-1] == "extra"
