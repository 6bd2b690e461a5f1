"""openapi-core, a validator that is not ours, finds every answer of the sandbox to be as the API document says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from stackone_lms import HookResponse, SyncClient
from stackone_lms.sandbox import Sandbox

from ..docs.table import call_each_line
from .document import API


@pytest.fixture(scope="module")
def api() -> Any:
    return OpenAPI.from_dict(API)


def answers(work: Callable[[SyncClient, Sandbox], object], **options: Any) -> list[HookResponse]:
    """Return what the sandbox answers to some calls."""
    seen: list[HookResponse] = []
    with (
        Sandbox.in_thread(users=5, courses=5, contents=5, assignments=5, completions=20, **options) as sandbox,
        SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, on_response=seen.append) as client,
    ):
        work(client, sandbox)
    return seen


def validate(api: Any, answer: HookResponse) -> None:
    """Raise what the validator finds wrong."""
    asked, media_type = answer.request, answer.headers.get("content-type", "")
    request = MockRequest(
        "https://api.stackone.com", asked.method, asked.path, headers=dict(asked.headers), data=asked.body
    )
    api.validate_response(
        request,
        MockResponse(answer.body, status_code=answer.status, headers=dict(answer.headers), content_type=media_type),
    )


def replace(client: SyncClient, sandbox: Sandbox) -> None:
    client.content.upsert(client.content.list().first_page().data[0])


def test_every_answer_is_as_the_document_says(api: Any) -> None:
    seen = answers(call_each_line)
    assert len({answer.request.operation for answer in seen}) == 28
    for answer in seen:
        validate(api, answer)


@pytest.mark.parametrize("status", [201, 200])
def test_a_replacing_upsert_is_answered_201(api: Any, status: int) -> None:
    """The document knows no other answer, and a validator refuses one."""
    (*_, answer) = answers(replace, upsert_status=status)
    assert (answer.request.method, answer.status) == ("PUT", status)
    if status == 201:
        validate(api, answer)
        return
    with pytest.raises(Exception, match="Unknown response http status: 200"):
        validate(api, answer)


def test_the_validator_sees_what_is_wrong(api: Any) -> None:
    (*_, answer) = answers(replace)
    wrong = HookResponse(
        request=answer.request,
        status=201,
        headers=answer.headers,
        request_id=None,
        elapsed=0.0,
        body=answer.body.replace(b'"data"', b'"date"'),
    )
    validate(api, answer)
    with pytest.raises(Exception, match=r"(?i)schema|data"):
        validate(api, wrong)
