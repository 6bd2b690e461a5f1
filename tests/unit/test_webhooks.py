"""Webhooks: who signed, and what happened."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import io
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
import starlette.datastructures
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from rich.console import Console
from werkzeug.datastructures import EnvironHeaders

from stackone_lms import ConfigurationError, DecodeError, SignatureError, StackOneError, webhooks
from stackone_lms.models import Assignment, Completion, Content, Course, User

SECRET = "a-signing-secret"


def payload(**fields: Any) -> bytes:
    """The body of a webhook with all the fields that are always there."""
    base: dict[str, Any] = {
        "project_id": "project-1",
        "account_id": "account-of-a-customer",
        "event": "lms_completions.created",
        "event_date": "2025-03-04T05:06:07.089Z",
        "record_type": "lms_completions",
        "record_id": "c28xIQ_1",
        "sent_at": "2025-03-04T05:06:08.000Z",
    }
    return json.dumps({**base, **fields}).encode()


def signature(body: bytes, secret: str = SECRET) -> str:
    """base64url(HMAC-SHA256(secret, body)), calculated apart from the package."""
    return base64.urlsafe_b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STACKONE_WEBHOOK_SECRET", raising=False)
    monkeypatch.delenv("STACKONE_WEBHOOK_SIGNATURE", raising=False)


# Signatures


def test_a_known_signature_is_good() -> None:
    """A fixed vector: key "key", RFC-style text, digest as published for HMAC-SHA256."""
    body = b"The quick brown fox jumps over the lazy dog"
    digest = bytes.fromhex("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8")
    webhooks.verify(body, base64.urlsafe_b64encode(digest).decode(), "key")


@given(body=st.binary(), secret=st.text(min_size=1).filter(lambda s: s.isascii() and bool(s.encode().strip())))
def test_padding_does_not_matter(body: bytes, secret: str) -> None:
    """Padded and unpadded signatures are both accepted, and `sign` makes the unpadded one."""
    padded = signature(body, secret)
    assert padded.endswith("=")
    webhooks.verify(body, padded, secret)
    webhooks.verify(body, padded.rstrip("="), secret)
    webhooks.verify(body, f" {padded}\n", secret.encode())
    assert webhooks.sign(body, secret) == padded.rstrip("=")


@given(body=st.binary(min_size=1), data=st.data())
def test_any_change_of_the_body_is_found(body: bytes, data: st.DataObject) -> None:
    """One bit is enough."""
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(SignatureError):
        webhooks.verify(bytes(changed), signature(body), SECRET)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "",
        "=",
        "x",
        signature(b"body", "another secret"),
        signature(b"body")[:-5],
        signature(b"body") + "A",
        signature(b"body").swapcase(),
        base64.b64encode(hmac.digest(SECRET.encode(), b"body", hashlib.sha1)).decode(),
        hmac.new(SECRET.encode(), b"body", hashlib.sha256).hexdigest(),
        "sha256=" + signature(b"body"),
        "ünïcode",
        "\ud800",
    ],
)
def test_other_signatures_are_refused(bad: str | None) -> None:
    """Missing, cut, of another secret or another kind: one typed error, which shows neither secret nor signature."""
    with pytest.raises(SignatureError) as caught:
        webhooks.verify(b"body", bad, SECRET)
    assert isinstance(caught.value, StackOneError)
    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value)
    assert not bad or bad == "x" or bad not in str(caught.value) or bad == "="
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_comparison_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures go through hmac.compare_digest, whole."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with pytest.raises(SignatureError):
        webhooks.verify(b"body", "AAAA", SECRET)
    assert compared == [(signature(b"body").rstrip("=").encode(), b"AAAA")]


def test_one_of_several_secrets_is_enough() -> None:
    """While a secret is changed, both the old and the new one are good."""
    body = payload()
    for secret in ("old", "new"):
        webhooks.verify(body, signature(body, secret), ["old", "new"])
        webhooks.verify(body, signature(body, secret), (s.encode() for s in ("new", "old")))
    with pytest.raises(SignatureError):
        webhooks.verify(body, signature(body, "older"), ["old", "new"])


@pytest.mark.parametrize("variable", ["STACKONE_WEBHOOK_SECRET", "STACKONE_WEBHOOK_SIGNATURE"])
def test_the_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Either variable serves."""
    monkeypatch.setenv(variable, SECRET)
    webhooks.verify(b"body", signature(b"body"))
    with pytest.raises(SignatureError):
        webhooks.verify(b"body", signature(b"body"), "given secrets come first")


def test_webhook_secret_comes_before_webhook_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the two variables the first one decides."""
    monkeypatch.setenv("STACKONE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("STACKONE_WEBHOOK_SIGNATURE", "other")
    webhooks.verify(b"body", signature(b"body"))
    with pytest.raises(SignatureError):
        webhooks.verify(b"body", signature(b"body", "other"))


@pytest.mark.parametrize("secret", [None, "", b"", [], ["good", ""], [b""]])
def test_without_a_secret_nothing_is_good(secret: Any) -> None:
    """An empty secret would let anybody sign."""
    with pytest.raises(ConfigurationError, match="secret"):
        webhooks.verify(b"body", signature(b"body", secret if isinstance(secret, str) else "good"), secret)


@pytest.mark.parametrize("body", [["event"], {"event": "x"}, None, 3])
def test_only_a_raw_body_is_checked(body: Any) -> None:
    """Decoded JSON has lost the exact bytes: TypeError, before anything else."""
    for call in (webhooks.verify, webhooks.unwrap):
        with pytest.raises(TypeError, match="raw body as bytes"):
            call(body, "AAAA", SECRET)


# Unwrapping


@pytest.mark.parametrize("mapping", [dict[str, str], CIMultiDict[str]])
@pytest.mark.parametrize("name", ["x-stackone-signature", "X-StackOne-Signature"])
def test_the_signature_is_found_in_headers(mapping: Any, name: str) -> None:
    """Headers may be any mapping, their names in any case; the bare signature works too."""
    body = payload()
    headers = mapping({"Content-Type": "application/json", name: signature(body)})
    assert webhooks.unwrap(body, headers, SECRET) == webhooks.unwrap(body, signature(body), SECRET)


def _message(signature: str) -> Any:
    """Headers as `http.server` has them."""
    return http.client.parse_headers(io.BytesIO(f"X-StackOne-Signature: {signature}\r\n\r\n".encode()))


FRAMEWORKS: dict[str, Callable[[str], Any]] = {
    "werkzeug": lambda s: EnvironHeaders({"HTTP_X_STACKONE_SIGNATURE": s, "CONTENT_TYPE": "application/json"}),
    "http.server": _message,
    "starlette": lambda s: starlette.datastructures.Headers({"X-StackOne-Signature": s}),
    "asgi": lambda s: [(b"content-type", b"application/json"), (b"x-stackone-signature", s.encode())],
    "lambda": lambda s: {"Content-Type": "application/json", "X-StackOne-Signature": s},
    "lambda, multi-value": lambda s: {"Content-Type": ["application/json"], "X-StackOne-Signature": [s]},
    "pairs": lambda s: iter([("Host", "x"), ("X-STACKONE-SIGNATURE", s)]),
    "bytes": lambda s: {b"X-StackOne-Signature": s.encode()},
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("text", [False, True], ids=["bytes", "str"])
def test_headers_and_bodies_of_any_framework_are_taken(framework: str, text: bool) -> None:
    body = payload()
    headers = FRAMEWORKS[framework]
    given: Any = body.decode() if text else body
    event = webhooks.unwrap(given, headers(signature(body)), ["another", SECRET])
    assert event == webhooks.parse(body)
    assert event.body == body
    with pytest.raises(SignatureError, match="not signed"):
        webhooks.unwrap(given, headers(signature(body, "another secret")), ["another", SECRET])


@pytest.mark.parametrize("headers", [5, object(), ["x-stackone-signature"], [5], {5: "x"}])
def test_what_are_no_headers_is_a_type_error(headers: Any) -> None:
    with pytest.raises(TypeError, match="headers must have"):
        webhooks.unwrap(payload(), headers, SECRET)


def test_two_values_in_a_list_are_refused() -> None:
    body = payload()
    with pytest.raises(SignatureError, match="more than one"):
        webhooks.unwrap(body, {"x-stackone-signature": [signature(body), "AAAA"]}, SECRET)
    with pytest.raises(SignatureError, match="no x-stackone-signature"):
        webhooks.unwrap(body, {"x-stackone-signature": []}, SECRET)


def test_an_account_event_says_whose_account_it_is() -> None:
    sent = {
        "event": "account.created",
        "provider": "docebo",
        "origin_owner_id": "o1",
        "origin_owner_name": "Acme",
        "origin_username": "jo",
        "setup_information": {"domain": "acme"},
    }
    event = webhooks.parse(json.dumps(sent).encode())
    assert isinstance(event, webhooks.AccountEvent)
    found = (event.provider, event.origin_owner_id, event.origin_owner_name, event.origin_username)
    assert found == ("docebo", "o1", "Acme", "jo")
    assert event.setup_information == {"domain": "acme"}
    assert "acme" not in repr(event)


def test_headers_without_or_with_two_signatures_are_refused() -> None:
    """Which of two is meant cannot be known."""
    body = payload()
    with pytest.raises(SignatureError, match="no x-stackone-signature"):
        webhooks.unwrap(body, {"content-type": "application/json"}, SECRET)
    twice = CIMultiDict([("x-stackone-signature", "AAAA"), ("X-StackOne-Signature", signature(body))])
    with pytest.raises(SignatureError, match="more than one"):
        webhooks.unwrap(body, twice, SECRET)


def test_nothing_is_decoded_before_it_is_checked() -> None:
    """A body that is no JSON and not signed is a SignatureError."""
    with pytest.raises(SignatureError):
        webhooks.unwrap(b"{", "AAAA", SECRET)
    with pytest.raises(DecodeError):
        webhooks.unwrap(b"{", signature(b"{"), SECRET)


# Events

RECORDS: dict[str, tuple[type[webhooks.Event], type[Any]]] = {
    "lms_assignments": (webhooks.AssignmentEvent, Assignment),
    "lms_completions": (webhooks.CompletionEvent, Completion),
    "lms_content": (webhooks.ContentEvent, Content),
    "lms_courses": (webhooks.CourseEvent, Course),
    "lms_users": (webhooks.UserEvent, User),
}


@pytest.mark.parametrize("name", get_args(webhooks.EventName))
def test_every_documented_event_has_its_class(name: str) -> None:
    """The class and the record's class follow from the name."""
    kind, _, action = name.partition(".")
    event = webhooks.parse(payload(event=name, event_data={"id": "1", "updated_at": "2025-01-02T03:04:05.678Z"}))
    assert (event.event, event.action) == (name, action)
    if kind == "account":
        assert type(event) is webhooks.AccountEvent
        return
    expected, record = RECORDS[kind]
    assert type(event) is expected
    assert event.event_data == record(id="1", updated_at=datetime(2025, 1, 2, 3, 4, 5, 678000, UTC))


def test_all_events_of_the_guide_are_known() -> None:
    """Five kinds of records and the account, each created, updated and deleted."""
    kinds = [*RECORDS, "account"]
    assert set(get_args(webhooks.EventName)) == {f"{k}.{a}" for k in kinds for a in ("created", "updated", "deleted")}


def test_fields_are_typed() -> None:
    """Dates are aware datetimes, the rest as sent."""
    event = webhooks.parse(payload(record_remote_id="r-1", raw_event={"a": [1]}))
    assert event.event_date == datetime(2025, 3, 4, 5, 6, 7, 89000, UTC)
    assert event.sent_at == datetime(2025, 3, 4, 5, 6, 8, tzinfo=UTC)
    assert (event.project_id, event.account_id) == ("project-1", "account-of-a-customer")
    assert (event.record_type, event.record_id, event.record_remote_id) == ("lms_completions", "c28xIQ_1", "r-1")
    assert event.raw_event == {"a": [1]}


@pytest.mark.parametrize("id", ["17", 17, 17.5, None, 2**60])
def test_record_ids_are_strings_or_numbers(id: str | float | None) -> None:
    """Neither becomes the other."""
    found = webhooks.parse(payload(record_id=id)).record_id
    assert (found, type(found)) == (id, type(id))


def test_an_unknown_event_is_still_an_event() -> None:
    """Its data come untyped."""
    event = webhooks.parse(payload(event="lms_badges.granted", event_data={"id": 1}))
    assert type(event) is webhooks.Event
    assert (event.action, event.event_data) == ("granted", {"id": 1})


@pytest.mark.parametrize("kind", ["lms_users.created", "lms_badges.granted"])
@pytest.mark.parametrize("fields", [{}, {"event_data": None}])
def test_an_event_without_data_has_none(kind: str, fields: dict[str, None]) -> None:
    """Only providers with webhooks of their own send data."""
    assert webhooks.parse(payload(event=kind, **fields)).event_data is None


def test_data_are_decoded_leniently_and_on_demand() -> None:
    """What providers are known for is mended; what is no record at all fails when asked for, not before."""
    event = webhooks.parse(payload(event_data={"id": 5, "completed_at": "2025-01-02"}))
    assert isinstance(event, webhooks.CompletionEvent)
    data = event.event_data
    assert data is not None
    assert (data.id, data.completed_at) == ("5", datetime(2025, 1, 2, tzinfo=UTC))
    odd = webhooks.parse(payload(event_data=["x"]))
    assert bytes(odd.event_data_json) == b'["x"]'
    with pytest.raises(DecodeError):
        _ = odd.event_data


def test_dates_without_a_zone_are_utc() -> None:
    """The envelope is mended as answers are."""
    assert webhooks.parse(payload(sent_at="2025-01-02T03:04:05")).sent_at == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_nothing_that_was_sent_is_lost() -> None:
    """The payload is kept, with the fields that are not declared."""
    body = payload(event="account.created", provider="a-provider")
    event = webhooks.parse(bytearray(body))
    assert event.body == body
    assert event.json()["provider"] == "a-provider"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event": []}', b'{"event": null}', b"null", b'"x"', b"\xff"])
def test_what_is_no_event_is_a_decode_error(body: bytes) -> None:
    """Signed or not."""
    with pytest.raises(DecodeError):
        webhooks.parse(body)


def test_deep_nesting_is_survived() -> None:
    """A body that nests without end is an error, not the end of the process."""
    with pytest.raises(DecodeError):
        webhooks.parse(b'{"event":"x","raw_event":' + b"[" * 200_000 + b"]" * 200_000 + b"}")


def test_events_pickle_and_can_be_made_by_hand() -> None:
    """A queue may carry them; a test may make them."""
    received = webhooks.parse(payload(event_data={"id": "1"}, other=1))
    made = webhooks.UserEvent(event="lms_users.deleted", record_id="1", event_date=datetime(2025, 1, 2, tzinfo=UTC))
    for event in (received, made):
        again = pickle.loads(pickle.dumps(event))
        assert (again, type(again)) == (event, type(event))
        assert again.json() == event.json()
    assert made.json() == {
        "event": "lms_users.deleted",
        "record_id": "1",
        "event_date": "2025-01-02T00:00:00.000Z",
    }


def test_the_account_does_not_show() -> None:
    """Neither repr nor rich show the account id or the data."""
    event = webhooks.parse(payload(event_data={"id": "1", "certificate_url": "https://private.example"}))
    out = io.StringIO()
    Console(file=out, width=300).print(event)
    for shown in (repr(event), str(event), out.getvalue()):
        assert "lms_completions.created" in shown
        assert "c28xIQ_1" in shown
        assert "account-of-a-customer" not in shown
        assert "private.example" not in shown


@pytest.mark.parametrize("secret", [5, 32, [32], [None, SECRET], bytearray(b"abc"), {SECRET: 1}, [["a"]]])
def test_what_is_no_secret_is_refused_instead_of_becoming_one(secret: Any) -> None:
    body = payload()
    zeros = base64.urlsafe_b64encode(hmac.digest(bytes(32), body, hashlib.sha256)).decode()
    with pytest.raises(ConfigurationError, match="must be a string, bytes, or several of them, not"):
        webhooks.unwrap(body, zeros, secret)
    with pytest.raises(ConfigurationError, match="must be one string or bytes, not"):
        webhooks.sign(body, secret)


@pytest.mark.parametrize("secret", [" ", "\t\n", b" ", [SECRET, " "]])
def test_a_blank_secret_is_an_empty_one(secret: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="the webhook secret is empty"):
        webhooks.unwrap(payload(), signature(payload()), secret)
    monkeypatch.setenv("STACKONE_WEBHOOK_SECRET", " ")
    with pytest.raises(ConfigurationError):
        webhooks.unwrap(payload(), signature(payload()))


@pytest.mark.parametrize("value", [5, [5], {"a": 1}])
def test_a_signature_that_is_no_text_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="x-stackone-signature must be a string or bytes"):
        webhooks.unwrap(payload(), {"x-stackone-signature": value}, SECRET)


def test_an_event_shows_no_none() -> None:
    assert repr(webhooks.parse(b'{"event":"account.created"}')) == "AccountEvent(event='account.created')"
