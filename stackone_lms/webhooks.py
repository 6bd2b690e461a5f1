"""Webhooks: check that StackOne sent them, and read what they tell.

The web framework does not matter: hand over the raw body and the headers. With aiohttp:

    async def stackone(request: web.Request) -> web.Response:
        try:
            event = webhooks.unwrap(await request.read(), request.headers, secret)
        except SignatureError:
            raise web.HTTPUnauthorized from None
        if isinstance(event, webhooks.CompletionEvent):
            queue.put_nowait((event.action, event.record_id))
        return web.Response()

With FastAPI it is `await request.body()`, with Flask `request.get_data()`, with Django `request.body`, on AWS Lambda
`event["body"]` and `event["headers"]`. Answer 200.

Sources: StackOne's webhook guide for the signature, the names of the events and the fields. The signature holds no
time, so that a recorded webhook stays valid; `sent_at` is inside the signed body, and `record_id` with `event_date`
tells repetitions apart.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

import msgspec

from . import safe_json
from .configuration import as_secret, from_environment
from .errors import ConfigurationError, SignatureError
from .models import Assignment, Completion, Content, Course, DateTime, Model, User, encode
from .models.decode import Decoder

R = TypeVar("R")

HEADER = "x-stackone-signature"
"""Name of the header that carries the signature."""

# fmt: off
EventName = Literal[
    "lms_assignments.created", "lms_assignments.updated", "lms_assignments.deleted",
    "lms_completions.created", "lms_completions.updated", "lms_completions.deleted",
    "lms_content.created", "lms_content.updated", "lms_content.deleted",
    "lms_courses.created", "lms_courses.updated", "lms_courses.deleted",
    "lms_users.created", "lms_users.updated", "lms_users.deleted",
    "account.created", "account.updated", "account.deleted",
]
# fmt: on
"""The events that StackOne documents for the LMS API."""


class Event(Model, kw_only=True, frozen=True, dict=True, gc=True):
    """Something that happened. An event of a name that is not known here comes as this class itself.

    The account id is not shown by `repr`.
    """

    event: EventName | str
    """What happened, such as `lms_completions.created`."""
    project_id: str | None = None
    """The StackOne project."""
    account_id: str | None = None
    """The linked account."""
    event_date: DateTime | None = None
    """When it happened, or was noticed: where a provider has no webhooks, StackOne looks from time to time."""
    record_type: str | None = None
    """Kind of the record."""
    record_id: str | int | float | None = None
    """Id of the record; some providers have numbers."""
    record_remote_id: str | None = None
    """The provider's id of the record."""
    sent_at: DateTime | None = None
    """When StackOne sent the webhook."""
    raw_event: Any = None
    """The provider's own webhook, where it has some."""
    event_data_json: msgspec.Raw = msgspec.field(name="event_data", default=msgspec.Raw())
    """The record, not yet decoded; empty where the provider has no webhooks."""

    @property
    def action(self) -> str:
        """What was done: `created`, `updated` or `deleted`."""
        return self.event.rpartition(".")[2]

    @property
    def event_data(self) -> Any:
        """The record, decoded when asked for; None if it was not sent.

        Raises:
            DecodeError: It is not of the form that such records have. `event_data_json` has its bytes.
        """
        return safe_json.parse(self.event_data_json) if bytes(self.event_data_json) else None

    @property
    def body(self) -> bytes:
        """The payload as received; its JSON, if the event was not decoded but made."""
        received: bytes | None = self.__dict__.get("_body")
        return encode(self) if received is None else received

    def json(self) -> Any:
        """Return the payload decoded to plain dicts and lists, with every field that was sent."""
        return safe_json.parse(self.body)

    def __reduce__(self) -> tuple[Any, ...]:
        return parse, (self.body,)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = [("event", self.event), ("record_id", self.record_id), ("event_date", self.event_date)]
        return [(name, value) for name, value in shown if value is not None]


class AccountEvent(Event, kw_only=True, frozen=True):
    """`account.*`: an account was linked, changed or removed."""

    provider: str | None = None
    """The provider of the account, such as `docebo`."""
    origin_owner_id: str | None = None
    """Your own id of whose account it is."""
    origin_owner_name: str | None = None
    """Their name."""
    origin_username: str | None = None
    """Who linked it, by the name that you gave."""
    setup_information: Any = None
    """What the provider needed to be set up: an object."""


class RecordEvent(Event, Generic[R], kw_only=True, frozen=True):
    """Base of the events about records of the LMS API."""

    RECORD: ClassVar[type[Model]]
    """Class of the record."""

    @property
    def event_data(self) -> R | None:
        """The record, decoded when asked for; None if it was not sent.

        Raises:
            DecodeError: It is not of the form that such records have. `event_data_json` has its bytes.
        """
        body = bytes(self.event_data_json)
        return None if body in {b"", b"null"} else _decoder(self.RECORD)(body)


class AssignmentEvent(RecordEvent[Assignment], kw_only=True, frozen=True):
    """`lms_assignments.*`."""

    RECORD = Assignment


class CompletionEvent(RecordEvent[Completion], kw_only=True, frozen=True):
    """`lms_completions.*`."""

    RECORD = Completion


class ContentEvent(RecordEvent[Content], kw_only=True, frozen=True):
    """`lms_content.*`."""

    RECORD = Content


class CourseEvent(RecordEvent[Course], kw_only=True, frozen=True):
    """`lms_courses.*`."""

    RECORD = Course


class UserEvent(RecordEvent[User], kw_only=True, frozen=True):
    """`lms_users.*`."""

    RECORD = User


_CLASSES: Mapping[str, type[Event]] = {
    "lms_assignments": AssignmentEvent,
    "lms_completions": CompletionEvent,
    "lms_content": ContentEvent,
    "lms_courses": CourseEvent,
    "lms_users": UserEvent,
    "account": AccountEvent,
}


@functools.cache
def _decoder(kind: type[Model]) -> Decoder[Any]:
    return Decoder(kind)


class Headers(Protocol):
    """Headers of a request in whatever class a framework has for them."""

    def items(self) -> Iterable[tuple[Any, Any]]:
        """Return names and values."""
        ...


def unwrap(
    payload: bytes | bytearray | str,
    signature: str | bytes | Headers | Iterable[tuple[Any, Any]] | None,
    secret: str | bytes | Iterable[str | bytes] | None = None,
) -> Event:
    """Check the signature of a webhook and decode it.

    Args:
        payload: The body exactly as received; of a text, its UTF-8.
        signature: The header `x-stackone-signature`, or all headers: anything with `items()`, or pairs of name and
            value. Names are found in any case; names and values may be bytes, and a value a list.
        secret: As for `verify`.

    Returns:
        An event of the class for its name: `CompletionEvent`, `CourseEvent` and so on; `Event` for an unknown name.

    Raises:
        SignatureError: It is not signed with the secret.
        ConfigurationError: There is no secret, an empty one, or what is neither a string nor bytes.
        DecodeError: It is signed, and no event.
        TypeError: The payload is neither bytes nor a string, or the headers are none.
    """
    verify(payload, signature if isinstance(signature, str | bytes | None) else _signature_in(signature), secret)
    return parse(payload)


def _signature_in(headers: Any) -> str | bytes | None:
    pairs: Any = headers.items() if hasattr(headers, "items") else headers
    try:
        found: list[Any] = [value for name, value in pairs if _lower(name) == HEADER]
    except (TypeError, ValueError, AttributeError):
        raise TypeError(f"headers must have items(), or be pairs, not {type(headers).__name__}") from None
    # Lambda has lists of values.
    values: list[Any] = []
    for value in found:
        values += value if isinstance(value, list | tuple) else [value]
    if len(values) > 1:
        raise SignatureError(f"the webhook has more than one {HEADER} header")
    if not all(isinstance(value, str | bytes | None) for value in values):
        raise TypeError(f"the header {HEADER} must be a string or bytes, not {type(values[0]).__name__}")
    return values[0] if values else None


def _lower(name: str | bytes) -> str:
    return (name.decode("latin-1") if isinstance(name, bytes) else name).lower()


def verify(
    payload: bytes | bytearray | str,
    signature: str | bytes | None,
    secret: str | bytes | Iterable[str | bytes] | None = None,
) -> None:
    """Check the signature of a webhook, in constant time. Returns if it is good.

    Args:
        payload: The body exactly as received: JSON that was decoded and encoded again has another signature.
        signature: The header `x-stackone-signature`; padding does not matter.
        secret: The signing secret, or several while it is being changed: one of them has to match. Default:
            STACKONE_WEBHOOK_SECRET, then STACKONE_WEBHOOK_SIGNATURE.

    Raises:
        SignatureError: It is not signed with the secret.
        ConfigurationError: There is no secret, an empty one, or what is neither a string nor bytes.
        TypeError: The payload is neither bytes nor a string.
    """
    keys = _keys(secret)
    body = _bytes(payload)
    if not signature:
        raise SignatureError(f"the webhook has no {HEADER} header")
    given = signature if isinstance(signature, bytes) else signature.encode("utf-8", "replace")
    given = given.strip().rstrip(b"=")
    if not any(hmac.compare_digest(sign(body, key).encode("ascii"), given) for key in keys):
        raise SignatureError("the webhook is not signed with this secret")


def sign(payload: bytes | bytearray | str, secret: str | bytes) -> str:
    """Return the signature of a payload, to test your own endpoint with.

    Args:
        payload: The body.
        secret: The signing secret.

    Raises:
        ConfigurationError: The secret is empty, or no string or bytes.
        TypeError: The payload is neither bytes nor a string.
    """
    if not isinstance(cast("object", secret), str | bytes):
        raise ConfigurationError(f"the secret to sign with must be one string or bytes, not {type(secret).__name__}")
    (key,) = _keys(secret)
    digest = hmac.new(key, _bytes(payload), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def parse(payload: bytes | bytearray | str) -> Event:
    """Decode a webhook whose signature was checked before, such as one from a queue of your own.

    Raises:
        DecodeError: It is no event.
        TypeError: The payload is neither bytes nor a string.
    """
    body = _bytes(payload)
    value = safe_json.parse(body)
    name = cast("dict[str, Any]", value).get("event") if isinstance(value, dict) else None
    kind = _CLASSES.get(name.partition(".")[0], Event) if isinstance(name, str) else Event
    event: Event = _decoder(kind)(body)
    vars(event)["_body"] = body
    return event


def _bytes(payload: Any) -> bytes:
    if isinstance(payload, str):
        return payload.encode("utf-8", "surrogatepass")
    if not isinstance(payload, bytes | bytearray):
        raise TypeError(f"payload must be the raw body as bytes or a string, not {type(payload).__name__}")
    return bytes(payload)


def _keys(secret: str | bytes | Iterable[str | bytes] | None) -> list[bytes]:
    if secret is None:
        secret = as_secret(
            from_environment(None, "STACKONE_WEBHOOK_SECRET") or from_environment(None, "STACKONE_WEBHOOK_SIGNATURE")
        )
        if secret is None:
            raise ConfigurationError("no webhook secret: pass secret= or set STACKONE_WEBHOOK_SECRET")
    given: Any = secret
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | bytearray | memoryview | Mapping)
    secrets: list[object] = list(cast("Iterable[object]", given)) if several else [given]
    keys = [one.encode() if isinstance(one, str) else one for one in secrets]
    # Of a number, bytes() would make a key of zeros.
    wrong = next((type(key).__name__ for key in keys if not isinstance(key, bytes)), None)
    if wrong is not None:
        raise ConfigurationError(f"the webhook secret must be a string, bytes, or several of them, not {wrong}")
    checked = cast("list[bytes]", keys)
    if not checked or not all(key.strip() for key in checked):
        raise ConfigurationError("the webhook secret is empty")
    return checked
