"""What answers mean, without a client."""

from __future__ import annotations

import base64
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackone_lms import errors as e
from stackone_lms.api.resources import Completions, Contents, UserCompletions, Users
from stackone_lms.calls.operation import CallArguments, Operation
from stackone_lms.configuration import redactor
from stackone_lms.engine.identity import compare
from stackone_lms.engine.responses import parse_response
from stackone_lms.engine.retry import COST, COST_THROTTLED, AttemptFailure, Decision, decide, max_retries
from stackone_lms.options import RetryPolicy
from stackone_lms.transport import Response
from tests.fake.fakes import KEY, error, page, record, reply

GET: Operation[Any] = Completions.get.operation
LIST: Operation[Any] = Completions.list.operation
CREATE: Operation[Any] = UserCompletions.create.operation
UPSERT: Operation[Any] = Contents.upsert.operation
BATCH: Operation[Any] = Contents.batch_upsert.operation
DELETE: Operation[Any] = UserCompletions.delete.operation

REDACT = redactor(KEY)
EPOCH = 1_700_000_000.0
DOUBTS: list[tuple[str, ...]] = []


def note_doubt(operation: str, asked: str, received: str) -> None:
    DOUBTS.append((operation, asked, received))


def verdict(answer: Response, operation: Operation[Any] = GET, *ids: str, **query: Any) -> Any:
    args = CallArguments(ids or ("c1",) * operation.arity, query)
    return parse_response(operation, args, answer, False, REDACT, lambda: EPOCH, note_doubt)


def failed(answer: Response, operation: Operation[Any] = GET, *ids: str, **query: Any) -> AttemptFailure:
    found = verdict(answer, operation, *ids, **query)
    assert isinstance(found, AttemptFailure), found
    return found


def after(failure: AttemptFailure) -> Decision:
    """What is done about a failure of a read."""
    return decide(RetryPolicy(), failure, attempt=1, repeatable=True, remaining=1000.0, random=lambda: 1.0)


@pytest.mark.parametrize(
    ("status", "kind", "most", "throttled"),
    [
        (400, e.BadRequestError, 0, False),
        (401, e.AuthenticationError, 0, False),
        (403, e.PermissionDeniedError, 0, False),
        (404, e.NotFoundError, 0, False),
        (405, e.APIStatusError, 0, False),
        (408, e.RequestTimeoutError, None, False),
        (409, e.ConflictError, 0, False),
        (410, e.APIStatusError, 0, False),
        (412, e.PreconditionFailedError, 0, False),
        (415, e.APIStatusError, 0, False),
        (422, e.UnprocessableEntityError, 0, False),
        (429, e.RateLimitError, None, True),
        (499, e.APIStatusError, 0, False),
        (500, e.InternalServerError, None, False),
        (501, e.NotSupportedError, 0, False),
        (502, e.BadGatewayError, None, False),
        (503, e.InternalServerError, None, True),
        (504, e.InternalServerError, None, False),
        (505, e.InternalServerError, 0, False),
        (599, e.InternalServerError, 0, False),
    ],
)
@pytest.mark.parametrize("content", [None, b"<html>\x07 gateway</html>", {}, [], "no", {"statusCode": 200}, b"\xff"])
def test_the_status_alone_decides_the_class_and_the_retry(
    status: int, kind: type[e.APIStatusError], most: int | None, throttled: bool, content: Any
) -> None:
    failure = failed(reply(status, content, x_request_id="r1"))
    assert type(failure.error) is kind
    assert (max_retries(failure), failure.request_sent) == (math.inf if most is None else most, status != 429)
    assert after(failure).cost == (COST_THROTTLED if throttled else COST)
    assert (failure.error.status, failure.error.request_id, failure.error.retryable) == (status, "r1", most is None)
    assert not after(failure).new_connection
    assert str(failure.error).isprintable()
    assert failure.error.message


def test_an_error_body_is_taken_apart() -> None:
    provider = {"status": 503, "url": "/api", "raw": {"error": "down"}, "headers": {"x-request-id": "5678"}}
    failure = failed(
        error(502, "Bad Gateway", timestamp="2023-05-30T00:00:00.000Z", errorCode="X", provider_errors=[provider])
    )
    found = failure.error
    assert isinstance(found, e.BadGatewayError)
    assert found.message == "Bad Gateway"
    assert found.error_code == "X"
    assert found.timestamp == "2023-05-30T00:00:00.000Z"
    assert found.provider_errors == [provider]
    assert found.body["errorCode"] == "X"


@pytest.mark.parametrize(
    "content",
    [
        {"message": None},
        {"message": ["a", "b"]},
        {"message": {"a": 1}},
        {"message": 5},
        {"message": ""},
        {"errors": ["a", 5, None]},
        {"errors": "a"},
        {"errorCode": 5, "timestamp": 5},
        {"provider_errors": None},
        {"provider_errors": {}},
        {"provider_errors": [None, 5, "x", {"status": 5}]},
        {"statusCode": "400"},
        {"data": None},
    ],
)
def test_an_error_body_of_odd_types_is_no_problem(content: dict[str, Any]) -> None:
    found = failed(reply(400, content)).error
    assert isinstance(found, e.BadRequestError)
    assert isinstance(found.message, str)
    assert found.message
    assert all(isinstance(problem, dict) for problem in found.provider_errors)
    assert found.error_code is None
    assert found.timestamp is None
    assert pickle.loads(pickle.dumps(found)).body == content


def test_a_body_without_a_timestamp_is_read_all_the_same() -> None:
    found = failed(reply(404, {"statusCode": 404, "message": "Not Found"})).error
    assert isinstance(found, e.NotFoundError)
    assert (found.message, found.timestamp) == ("Not Found", None)


@pytest.mark.parametrize("code", ["AccountExpiredCredentialsError", "AccountInvalidCredentialsError"])
def test_the_providers_credentials_are_told_apart_from_the_key(code: str) -> None:
    assert type(failed(error(401, errorCode=code)).error) is e.ProviderCredentialsError
    assert type(failed(error(401, errorCode="UnauthorizedError")).error) is e.AuthenticationError
    assert type(failed(error(403, errorCode=code)).error) is e.PermissionDeniedError


def test_a_429_of_the_provider_holds_the_account_and_one_of_stackone_the_key() -> None:
    assert failed(error(429)).key_wide
    assert not failed(error(429, provider_errors=[{"status": 429}])).key_wide
    assert not failed(error(503)).key_wide
    assert failed(reply(429)).key_wide


def test_retry_after_is_on_the_error_and_in_the_decision() -> None:
    failure = failed(error(429, Retry_After="60"))
    assert isinstance(failure.error, e.RateLimitError)
    assert (failure.error.retry_after, after(failure).pause) == (60.0, 60.0)
    dated = failed(error(503, Retry_After="Tue, 14 Nov 2023 22:13:25 GMT", Date="Tue, 14 Nov 2023 22:13:20 GMT"))
    assert after(dated).pause == 5.0
    assert failed(error(503, Retry_After="Tue, 14 Nov 2023 22:13:29 GMT")).error.__dict__["retry_after"] == 9.0
    assert failed(error(429, Retry_After="soon")).error.__dict__["retry_after"] is None


@pytest.mark.parametrize("status", [200, 201, 202, 206])
def test_any_success_with_a_body_is_an_answer(status: int) -> None:
    assert verdict(reply(status, {"data": {"id": "c1"}})).data.id == "c1"


@pytest.mark.parametrize(("status", "most"), [(200, 1), (201, 1), (202, 1), (204, 0)])
@pytest.mark.parametrize("body", [b"", b"\n\n", b" \r\n\t"])
@pytest.mark.parametrize("operation", [GET, LIST, CREATE, UPSERT, BATCH], ids=str)
def test_nothing_where_something_has_to_be(operation: Operation[Any], body: bytes, status: int, most: int) -> None:
    failure = failed(reply(status, body), operation)
    assert type(failure.error) is e.UnexpectedResponseError
    assert (max_retries(failure), failure.error.status) == (most, status)


@pytest.mark.parametrize(
    "body", [b"", b"\n", b'{"statusCode":204,"message":"gone","timestamp":"2024-01-01T00:00:00Z"}']
)
@pytest.mark.parametrize("status", [200, 204])
def test_a_delete_may_be_answered_with_or_without_a_body(body: bytes, status: int) -> None:
    if status == 204 and body.strip():
        assert failed(reply(status, body), DELETE).error.__dict__["body"] == body
    else:
        assert verdict(reply(status, body), DELETE).status_code == (204 if body.strip() else status)


def test_a_204_with_a_body_is_not_trusted() -> None:
    failure = failed(reply(204, {"data": {"id": "c1"}}))
    assert type(failure.error) is e.UnexpectedResponseError
    assert (max_retries(failure), after(failure).close_connection) == (0, True)


@pytest.mark.parametrize("operation", [CREATE, UPSERT, BATCH, DELETE], ids=str)
def test_an_error_object_in_a_success_is_no_success_of_a_write(operation: Operation[Any]) -> None:
    """All fields of a write's result may be missing, so it would decode."""
    failure = failed(reply(200, {"statusCode": 422, "message": "no"}), operation)
    assert isinstance(failure.error, e.UnexpectedResponseError)
    assert "422" in str(failure.error)
    assert max_retries(failure) == 0


@pytest.mark.parametrize("operation", [CREATE, UPSERT, BATCH, DELETE], ids=str)
@pytest.mark.parametrize(("code", "fails"), [(200, False), (201, False), (399, False), (400, True), (500, True)])
def test_a_write_whose_answer_says_that_it_failed_did_not_succeed(
    operation: Operation[Any], code: int, fails: bool
) -> None:
    """Without a message it is no error object of the API, but it is no success either."""
    found = verdict(reply(200, {"statusCode": code, "timestamp": "2026-01-01T00:00:00.000Z"}), operation)
    assert isinstance(found, AttemptFailure) is fails
    if fails:
        assert type(found.error) is e.UnexpectedResponseError
        assert str(found.error) == f"the answer says {code} (status 200)"
        assert (found.error.status, max_retries(found)) == (200, 0)


@pytest.mark.parametrize("operation", [GET, LIST], ids=str)
@pytest.mark.parametrize("data", [{}, {"data": {"statusCode": 400, "message": "deep"}}, {"data": None}])
def test_an_error_object_in_a_success_is_no_success_of_a_read(operation: Operation[Any], data: dict[str, Any]) -> None:
    failure = failed(reply(200, {"statusCode": 400, "message": "no\n", **data}), operation)
    assert type(failure.error) is e.UnexpectedResponseError
    assert "an error (400) came as a success: no\\n" in str(failure.error)
    assert max_retries(failure) == 0


@pytest.mark.parametrize("operation", [GET, LIST, CREATE, DELETE], ids=str)
@pytest.mark.parametrize("beat", [{"Preference_Applied": "heartbeat"}, {}])
def test_after_heartbeats_the_status_in_the_body_counts(operation: Operation[Any], beat: dict[str, str]) -> None:
    body = (b"" if beat else b"\n\n") + b'{"statusCode":429,"message":"slow down"}'
    failure = failed(reply(200, body, Retry_After="3", **beat), operation)
    assert type(failure.error) is e.RateLimitError
    assert (failure.error.status, failure.error.message) == (429, "slow down")
    assert (max_retries(failure), failure.request_sent, after(failure).pause) == (math.inf, False, 3.0)


@pytest.mark.parametrize("fields", [None, "id", ["user_id"]])
def test_an_error_after_heartbeats_is_no_record_even_when_fields_were_asked_for(fields: Any) -> None:
    """A 400 has `data`, and with `fields` a record may come without its id."""
    body = b'\n{"statusCode":400,"message":"no","data":{"statusCode":400,"message":"no","headers":{}}}'
    failure = failed(reply(200, body), GET, "c28xIQaWQ6MQ", fields=fields)
    assert type(failure.error) is e.BadRequestError


@pytest.mark.parametrize("code", [400.0, "404", True, None, 10**30])
def test_odd_status_codes_inside_are_no_crash(code: Any) -> None:
    body = b"\n" + json.dumps({"statusCode": code, "message": "no"}).encode()
    assert isinstance(failed(reply(200, body)).error, e.StackOneError)


def test_heartbeats_before_an_answer_are_nothing() -> None:
    assert verdict(reply(200, b"\n\n\n" + record().body, Preference_Applied="heartbeat")).data.id == "c1"


@pytest.mark.parametrize(
    ("body", "most"),
    [
        (b'{"data":{"id":"c1"', 1),
        (b'{"data":{"id":"c', 1),
        (b"<html><body>Sign in</body></html>", 0),
        (b"null", 0),
        (b"[]", 0),
        (b'{"data":{"id":"\xff"}}', 0),
        (b'{"data":5}', 0),
        (b"{}", 0),
        (b"[" * 100_000, 0),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_only_what_was_cut_off_is_asked_for_again(body: bytes, most: int) -> None:
    failure = failed(reply(200, body, x_request_id="r1"))
    assert isinstance(failure.error, e.DecodeError)
    assert max_retries(failure) == most
    assert (failure.error.body, failure.error.status, failure.error.request_id) == (body, 200, "r1")


def test_the_excerpt_of_a_body_is_short_and_printable() -> None:
    found = str(failed(reply(200, b"<html>\n\x1b[31m" + b"x" * 5000)).error)
    assert found.isprintable()
    assert "<html>\\n\\x1b[31mxxx" in found
    assert len(found) < 500


def packed(body: str) -> str:
    """An id of StackOne's own."""
    return "c28xIQ" + base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")


OURS = packed("id:prov/1")
GUID = "3F2504E0-4F89-11D3-9A0C-0305E82C3301"


@pytest.mark.parametrize(
    ("asked", "id", "remote_id", "found"),
    [
        ("c1", "c1", None, "same"),
        (OURS, OURS, None, "same"),
        ("p1", "c28xIQaWQ6MQ", "p1", "same"),
        ("p1", "x2", "p1", "same"),
        ("prov/1", OURS, None, "same"),
        ("PROV/1", OURS, None, "same"),
        ("7", packed("id:7,course:9"), None, "same"),
        ("9", packed("id:7,course:9"), None, "same"),
        ("09", packed("id:7,course:9"), None, "same"),
        ("a,b:c", packed(r"id:a\,b\:c,course:9"), None, "same"),
        (GUID, GUID.lower(), None, "same"),
        (GUID.lower(), "x", GUID, "same"),
        ("0042", "42", None, "same"),
        ("42", "0042", None, "same"),
        ("0", "000", None, "same"),
        ("c1", None, None, "unknown"),
        ("c1", "", None, "unknown"),
        ("c1", None, "c2", "unknown"),
        (OURS, None, None, "unknown"),
        (OURS, None, "prov/1", "unknown"),
        (OURS, "prov/1", None, "unknown"),
        (OURS, "prov/2", None, "unknown"),
        ("prov/2", OURS, None, "doubtful"),
        ("ann@example.com", OURS, "prov/1", "doubtful"),
        ("prov", OURS, None, "doubtful"),
        ("ann@example.com", "77", None, "doubtful"),
        ("ann@example.com", "bob@example.com", None, "other"),
        ("prov/1", "c28xIQ!!!", None, "doubtful"),
        ("prov/1", "c28xIQ\xe9", None, "doubtful"),
        ("1", packed("no colon"), None, "doubtful"),
        (OURS, packed("id:prov/2"), None, "other"),
        (OURS, packed("id:prov/2"), "prov/1", "other"),
        ("c1", "c2", None, "other"),
        ("c1", "c2", "c3", "other"),
        ("c1", " c1", None, "other"),
        ("10", "1", None, "other"),
    ],
)
@pytest.mark.parametrize("fields", [None, "user_id"])
def test_only_an_answer_that_is_surely_of_another_record_is_refused(
    asked: str, id: str | None, remote_id: str | None, found: str, fields: str | None
) -> None:
    DOUBTS.clear()
    assert compare(asked, id, remote_id) == found
    answer = verdict(reply(200, {"data": {"id": id, "remote_id": remote_id}}), GET, asked, fields=fields)
    assert ([("completions.get", asked, id)] if found == "doubtful" else []) == DOUBTS
    if found != "other":
        assert (answer.data.id, answer.data.remote_id) == (id, remote_id)
        return
    error = answer.error
    assert isinstance(error, e.IdMismatchError)
    assert (error.expected, error.received) == (asked, id)
    assert json.loads(error.body) == {"data": {"id": id, "remote_id": remote_id}}
    assert (error.result.data.id, error.result.data.remote_id) == (id, remote_id)
    assert (max_retries(answer), after(answer).close_connection) == (1, True)
    assert pickle.loads(pickle.dumps(error)).result.data == error.result.data


@pytest.mark.parametrize("name", ["email", "external_reference"])
@pytest.mark.parametrize("id", ["77", OURS])
def test_a_record_that_goes_by_what_was_asked_for_is_the_right_one(name: str, id: str) -> None:
    DOUBTS.clear()
    operation: Operation[Any] = Users.get.operation
    for asked, value in (("Ann@example.com", "ann@example.com"), ("EMP-1", "EMP-1")):
        answer = verdict(reply(200, {"data": {"id": id, name: value}}), operation, asked)
        assert answer.data.id == id
    assert not DOUBTS
    error = failed(reply(200, {"data": {"id": "77", name: "EMP-2"}}), operation, "EMP-1").error
    assert isinstance(error, e.IdMismatchError)


def test_the_record_of_another_shows_no_key_that_came_back_in_it() -> None:
    error = failed(reply(200, {"data": {"id": "c2", "external_id": KEY}})).error
    assert isinstance(error, e.IdMismatchError)
    assert KEY not in repr(vars(error))
    assert error.result.data.id == "c2"


def test_ids_are_not_compared_where_nobody_wants_that() -> None:
    args = CallArguments(("c1",), {})
    found: Any = parse_response(GET, args, record("c2"), False, REDACT, lambda: EPOCH, None)
    assert found.data.id == "c2"


def test_the_last_of_two_same_keys_counts_and_is_checked() -> None:
    assert isinstance(failed(reply(200, b'{"data":{"id":"c1","id":"c2"}}')).error, e.IdMismatchError)


def test_the_ids_of_lists_and_writes_are_not_compared() -> None:
    assert [item.id for item in verdict(page(["x", "y"]), LIST).data] == ["x", "y"]
    assert verdict(reply(201, {"data": {"id": "z"}}), CREATE).data.id == "z"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://evil.example/x?token=1#f", "https://evil.example/x"),
        ("https://user:pw@evil.example:8443/x", "https://evil.example:8443/x"),
        ("//user:pw@evil.example/x", "evil.example/x"),
        ("/login?next=/y", "/login"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("https://[::1", None),
        ("https://h:99999/", None),
        ("https://h/a\r\nX: y", "https://h/aX: y"),
        ("", None),
        (None, None),
    ],
)
def test_redirects_are_errors_that_show_where_without_secrets(
    status: int, location: str | None, shown: str | None
) -> None:
    failure = failed(reply(status, b"", **({} if location is None else {"Location": location})))
    assert isinstance(failure.error, e.RedirectError)
    assert (failure.error.location, max_retries(failure), failure.error.status) == (shown, 0, status)
    assert "pw" not in str(failure.error).replace("etc/passwd", "")
    assert "token" not in str(failure.error)
    assert str(failure.error).isprintable()


@pytest.mark.parametrize("status", [100, 101, 199, 304])
def test_other_statuses_are_unexpected(status: int) -> None:
    failure = failed(reply(status, b""))
    assert type(failure.error) is e.UnexpectedResponseError
    assert max_retries(failure) == 0


SECRETS = [KEY, base64.b64encode(f"{KEY}:".encode()).decode(), base64.b64encode(KEY.encode()).decode()]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("status", [200, 204, 302, 400, 500])
def test_what_a_server_echoes_of_our_secrets_is_blotted_out(status: int, secret: str) -> None:
    """In bodies of all kinds, and in the headers that errors show."""
    bodies: list[Any] = [
        {"message": f"key {secret}", "errorCode": secret, "provider_errors": [{"headers": {"a": secret}}]},
        {"statusCode": 500, "message": secret},
        f"<html>{secret}".encode(),
        b"{" + secret.encode(),
    ]
    for body in bodies:
        found = failed(reply(status, body, x_request_id=f"r-{secret}", Location=f"https://h/{secret}/x")).error
        shown = [str(found), repr(found), repr(vars(found)), repr(found.args)]
        assert not [text for text in shown if secret in text]


@given(st.integers(200, 599), st.binary(max_size=40), st.sampled_from([GET, LIST, CREATE, DELETE]))
def test_no_answer_makes_the_parser_fail(status: int, body: bytes, operation: Operation[Any]) -> None:
    found = verdict(reply(status, body), operation)
    if isinstance(found, AttemptFailure):
        assert isinstance(found.error, e.StackOneError)
        assert found.error.status is not None
