"""Every exception of the package: where it belongs, what it carries, what it shows."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stackone_lms
from stackone_lms import errors
from stackone_lms.errors import (
    APIStatusError,
    APITimeoutError,
    DecodeError,
    IdMismatchError,
    PaginationError,
    RateLimitError,
    RedirectError,
    StackOneError,
    class_for,
    printable,
)

PARENTS = {
    "ConfigurationError": ("StackOneError", "ValueError"),
    "InvalidArgumentError": ("StackOneError", "ValueError"),
    "ClientClosedError": ("StackOneError", "RuntimeError"),
    "WrongLoopError": ("StackOneError", "RuntimeError"),
    "ForkedError": ("StackOneError", "RuntimeError"),
    "PaginationError": ("StackOneError",),
    "ExportError": ("StackOneError",),
    "APIConnectionError": ("StackOneError",),
    "ConnectError": ("APIConnectionError",),
    "TLSError": ("APIConnectionError",),
    "ConnectionLostError": ("APIConnectionError",),
    "ProtocolError": ("APIConnectionError",),
    "APITimeoutError": ("StackOneError", "TimeoutError"),
    "APIStatusError": ("StackOneError",),
    "BadRequestError": ("APIStatusError",),
    "AuthenticationError": ("APIStatusError",),
    "ProviderCredentialsError": ("AuthenticationError",),
    "PermissionDeniedError": ("APIStatusError",),
    "NotFoundError": ("APIStatusError",),
    "RequestTimeoutError": ("APIStatusError",),
    "ConflictError": ("APIStatusError",),
    "PreconditionFailedError": ("APIStatusError",),
    "UnprocessableEntityError": ("APIStatusError",),
    "RateLimitError": ("APIStatusError",),
    "InternalServerError": ("APIStatusError",),
    "NotSupportedError": ("APIStatusError",),
    "BadGatewayError": ("APIStatusError",),
    "UnexpectedResponseError": ("StackOneError",),
    "RedirectError": ("UnexpectedResponseError",),
    "DecodeError": ("UnexpectedResponseError",),
    "IdMismatchError": ("UnexpectedResponseError",),
    "ResponseTooLargeError": ("UnexpectedResponseError",),
    "StackOneError": ("Exception",),
}
"""The contract: what users catch."""

CLASSES: dict[str, type[StackOneError]] = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, StackOneError) and found.__module__ == errors.__name__
}


@pytest.mark.parametrize("name", PARENTS)
def test_the_hierarchy_is_the_promised_one(name: str) -> None:
    assert tuple(parent.__name__ for parent in CLASSES[name].__bases__) == PARENTS[name]


def test_there_is_no_error_outside_the_hierarchy() -> None:
    defined = {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, BaseException) and found.__module__ == errors.__name__
    }
    assert defined == set(CLASSES) >= set(PARENTS)


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_is_public_and_documented(name: str) -> None:
    found = CLASSES[name]
    assert getattr(stackone_lms, name) is found
    assert name in stackone_lms.__all__
    assert found.__doc__


@pytest.mark.parametrize("name", CLASSES)
def test_retryable_is_what_the_client_itself_would_retry(name: str) -> None:
    retried = {
        "APIConnectionError",
        "ConnectError",
        "ConnectionLostError",
        "APITimeoutError",
        "RequestTimeoutError",
        "RateLimitError",
        "InternalServerError",
        "BadGatewayError",
    }
    assert CLASSES[name]("x").retryable is (name in retried)


def pickled(error: StackOneError) -> StackOneError:
    found = pickle.loads(pickle.dumps(error))
    assert isinstance(found, StackOneError)
    return found


@pytest.mark.parametrize("way", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("name", CLASSES)
def test_errors_survive_copies_and_pickles_with_all_they_carry(name: str, way: Any) -> None:
    error = CLASSES[name](
        "what happened",
        status=418,
        request_id="r1",
        attempts=3,
        retryable=True,
        body={"a": [1]},
        error_code="Code",
        provider_errors=[{"status": 1}],
        timestamp="t",
        retry_after=1.5,
        phase="read",
        location="l",
        path="$.x",
        expected="e",
        received="r",
        cursor="c",
    )
    error.add_note("a note")
    again = way(error)
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (again.args, str(again), repr(again)) == (error.args, str(error), repr(error))
    assert again.__notes__ == ["a note"]


@pytest.mark.parametrize("name", CLASSES)
def test_errors_can_be_made_with_nothing(name: str) -> None:
    error = CLASSES[name]()
    assert pickled(error).message == ""
    assert (error.attempts, error.request_id) == (0, None)
    assert isinstance(str(error), str)


def test_defaults_are_not_shared_between_errors() -> None:
    first = APIStatusError("x", provider_errors=[{"a": 1}])
    assert APIStatusError("y").provider_errors == []
    assert first.provider_errors == [{"a": 1}]


def test_each_error_carries_its_own_facts() -> None:
    assert APITimeoutError("x", phase="connect").phase == "connect"
    assert RateLimitError("x", retry_after=3.0).retry_after == 3.0
    assert RedirectError("x", location="l").location == "l"
    assert (DecodeError("x", path="$.a", body=b"b").path, DecodeError("x").path) == ("$.a", "$")
    assert IdMismatchError("x", expected="a", received=None).expected == "a"
    assert PaginationError("x", cursor="c").cursor == "c"


HOSTILE = "a\r\nERROR forged\x1b[31m\x00\u2028\u202e\ud800b"


def test_what_a_server_says_cannot_forge_a_log_line() -> None:
    error = APIStatusError(HOSTILE, status=400, error_code=HOSTILE, request_id=HOSTILE)
    assert str(error).isprintable()
    assert repr(error).isprintable()
    assert "a\\r\\nERROR" in str(error)
    assert str(StackOneError("x", request_id=HOSTILE)).isprintable()
    assert error.message == HOSTILE


def test_the_text_of_a_status_error_is_short_and_complete() -> None:
    error = APIStatusError("m" * 1000, status=409, error_code="TakenError", request_id="r-1")
    assert str(error) == f"409 [TakenError] {'m' * 200}... (request id r-1)"
    assert str(APIStatusError("no", status=409)) == "409 no"
    assert str(StackOneError("no")) == "no"


@given(st.text(st.characters()), st.integers(0, 50))
def test_printable_text_is_printable_and_no_longer_than_it_should_be(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 3
    if text.isprintable():
        assert shown == (text if len(text) <= limit else text[:limit] + "...")


@given(st.integers(400, 999), st.none() | st.text(max_size=10))
def test_every_error_status_has_a_class(status: int, code: str | None) -> None:
    found = class_for(status, code)
    assert issubclass(found, APIStatusError)
    assert issubclass(found, errors.InternalServerError) is (status >= 500 and status not in {501, 502})
