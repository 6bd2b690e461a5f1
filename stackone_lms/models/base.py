"""What all models share: the Struct settings, the answer around a record, dates and durations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from types import NoneType
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET

from ..errors import DecodeError
from ..safe_json import (
    FAILURES,
    check_depth,
    failure,
    parse,
    repair,
)
from .fields import EXTRA, by_name
from .html import table

T = TypeVar("T")

DateTime = Annotated[datetime, msgspec.Meta(tz=True)]
"""An aware datetime. A date without time or zone is read as UTC."""


class PlainData(msgspec.Struct, frozen=True):
    """What the models and the bodies can do alike: become plain data, show themselves, be fields of pydantic models."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values as the API spells them, which `json.dumps` takes; what is missing is left out.

        Date-times are strings in UTC, durations ISO 8601. What `.extra` keeps is in it.
        """
        return _record_to_builtins(self)

    def to_json(self) -> str:
        """Return the JSON text of `to_dict()`."""
        return encode(self).decode()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]
        shown = [(n, v) for n, v in values if v is not None and v is not UNSET and not isinstance(v, msgspec.Raw)]
        return [*shown, ("extra", self.extra)] if isinstance(self, Model) and self.extra else shown

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _pydantic().core_schema(source)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return _pydantic().json_schema(schema["metadata"]["stackone_lms"])


def _pydantic() -> Any:
    """Return the module for pydantic, which builds on this one and is needed only where pydantic asks."""
    return import_module(".pydantic", __package__)


class Model(PlainData, kw_only=True, frozen=True, gc=False, omit_defaults=True):
    """Base of everything the API sends.

    Frozen, so that it can be shared; `gc=False`, since nothing decoded from JSON can hold a cycle: that
    makes holding hundreds of thousands of records cheap. Every field may be missing or null in an answer:
    both read as None.
    """

    SCHEMA: ClassVar[str] = ""
    """Name of the schema in the API document, where the class is named otherwise."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """What was sent and has no place in the fields; undeclared names are kept with `keep_unknown=True` only."""
        declared = self.__struct_encode_fields__
        return {n: value for n, value in left_over(self).items() if n not in declared or not is_blank(value)}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with fields of this record that could not be read: they are None, and as sent in `.extra`."""
        return tuple(f"{name} is no date-time" for name in self.extra if name in self.__struct_encode_fields__)


def is_blank(value: Any) -> bool:
    """Tell whether a value of JSON stands for nothing: null, or no text."""
    return value is None or (isinstance(value, str) and not value.strip())


_NONE: dict[str, Any] = {}


def keep(found: Any, sent: Any) -> None:
    """Keep on a decoded record, or on those of a list, what was sent in plain values; see `left_over`."""
    if isinstance(found, list):
        for record, value in zip(cast("list[Any]", found), sent or (), strict=False):
            keep(record, value)
    elif isinstance(found, Model) and isinstance(sent, dict):
        cast("Any", found).__dict__["_sent"] = sent


def settle(record: Any) -> None:
    """Work out what was left over of what was sent, and hand the rest on to the records inside."""
    own: dict[str, Any] = getattr(record, "__dict__", _NONE)
    sent = own.get("_sent")
    if sent is None:
        return
    # Not through the attributes: those of the records inside call this function.
    read = dict(zip(record.__struct_encode_fields__, msgspec.structs.astuple(record), strict=True))
    left = {name: value for name, value in sent.items() if read.get(name) is None}
    for name, value in sent.items():
        if isinstance(value, dict | list) and name in read:
            keep(read[name], value)
    own["_left"] = left
    own.pop("_sent", None)


def left_over(record: Any) -> Mapping[str, Any]:
    """Return what was sent beside the values of the fields, by its names in JSON; null for fields that were null."""
    settle(record)
    return cast("Mapping[str, Any]", getattr(record, "__dict__", _NONE).get("_left", _NONE))


def plain_secret(raw: msgspec.Raw) -> Any:
    """Decode a field that is kept as JSON so that no repr can show it; None if it was not sent."""
    return msgspec.json.decode(raw) if bytes(raw) else None


def without_secrets(record: Model) -> tuple[Any, ...]:
    """Return what pickles a record without the fields that `plain_secret` reads, and without the body they came in."""
    values = {f: getattr(record, f) for f in record.__struct_fields__}
    known = {name: value for name, value in values.items() if not isinstance(value, msgspec.Raw)}
    if not isinstance(record, Answer):
        return _rebuild_model, (type(record), known)
    attributes = vars_of(record).copy()
    if "_response" in attributes:
        attributes["_response"] = msgspec.structs.replace(attributes["_response"], body=b"")
    return rebuild, (type(record), known, attributes)


def _rebuild_model(cls: type[Model], values: dict[str, Any]) -> Model:
    return cls(**values)


class ResponseInfo(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """The HTTP side of an answer."""

    status: int = 0
    """HTTP status code."""
    request_id: str | None = None
    """StackOne's id of the request (`x-request-id`), to look it up in their logs."""
    attempts: int = 0
    """How many requests were sent for this answer."""
    elapsed: float = 0.0
    """Seconds from the start of the call to the decoded answer, waiting included."""
    headers: Mapping[str, str] = {}
    """Response headers; names are found in any case."""
    body: bytes = b""
    """The body as received, decompressed."""

    def __repr__(self) -> str:
        return (
            f"ResponseInfo(status={self.status}, request_id={self.request_id!r}, attempts={self.attempts}, "
            f"elapsed={self.elapsed:.3f}, body=<{len(self.body)} bytes>)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return _rebuild_info, (self.status, self.request_id, self.attempts, self.elapsed, headers, self.body)


def _rebuild_info(*values: Any) -> ResponseInfo:
    return ResponseInfo(**dict(zip(ResponseInfo.__struct_fields__, values, strict=True)))


class RawResponse(Model, kw_only=True, frozen=True):
    """One call that StackOne made to the provider for this answer (sent with `raw=True`)."""

    method: str | None = None
    """HTTP method of the provider call."""
    url: str | None = None
    """URL of the provider call."""
    body: Any = None
    """Request body: a string, an object, or a list of byte values."""
    response: Any = None
    """What the provider answered: an object, a list or a string."""


_raw_decoder: msgspec.json.Decoder[list[RawResponse] | None] = msgspec.json.Decoder(list[RawResponse] | None)
_NOTHING = ResponseInfo()


REPLACED: Final = "half of a surrogate pair was replaced by U+FFFD"
"""What `problems` of an answer, and the log, tell of text that was cut within a character."""


class Answer(Model, frozen=True, dict=True, gc=True):
    """Base of whole answers: what was decoded, and the answer as it came."""

    @property
    def response(self) -> ResponseInfo:
        """Status, request id, attempts, elapsed seconds, headers and bytes of the answer."""
        return cast("ResponseInfo", self.__dict__.get("_response", _NOTHING))

    @property
    def body(self) -> bytes:
        """The body as received."""
        return self.response.body

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self.response.status

    @property
    def request_id(self) -> str | None:
        """StackOne's id of the request."""
        return self.response.request_id

    @property
    def attempts(self) -> int:
        """How many requests were sent."""
        return self.response.attempts

    @property
    def elapsed(self) -> float:
        """Seconds from the start of the call to the decoded answer."""
        return self.response.elapsed

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the answer as a whole; a record in it has its own."""
        replaced = (REPLACED,) if "_replaced" in self.__dict__ else ()
        return (*super().problems, *replaced)

    def json(self) -> Any:
        """Return the body decoded to plain dicts and lists, with every field that was sent."""
        return parse(self.body)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.__dict__.get("_secret"):
            return without_secrets(self)
        values = {f: getattr(self, f) for f in self.__struct_fields__}
        return rebuild, (type(self), values, vars_of(self).copy())

    def __copy__(self) -> Any:
        values = {f: getattr(self, f) for f in self.__struct_fields__}
        return rebuild(type(self), values, vars_of(self).copy())


def vars_of(answer: Answer) -> dict[str, Any]:
    """Return the attributes of an answer beside its fields; frozen structs keep those in a plain dict."""
    return cast("dict[str, Any]", answer.__dict__)


def attach(answer: Answer, response: ResponseInfo) -> None:
    """Give a decoded answer its HTTP side."""
    vars_of(answer)["_response"] = response


def rebuild(cls: type[T], values: Mapping[str, Any], attributes: Mapping[str, Any]) -> T:
    """Make a record of the values of its fields and of the attributes that it had beside them."""
    record = cls(**values)
    cast("Any", record).__dict__.update(attributes)
    return record


class WithRaw(Answer, kw_only=True, frozen=True):
    """An answer that may come with the provider calls behind it."""

    raw_json: msgspec.Raw = msgspec.field(name="raw", default=msgspec.Raw())
    """The provider calls, not yet decoded."""

    @property
    def raw(self) -> list[RawResponse] | None:
        """The provider calls behind this answer, decoded when asked for; None without `raw=True`."""
        body = bytes(self.raw_json)
        if not body:
            return None
        check_depth(body)
        try:
            return _raw_decoder.decode(repair(body))
        except FAILURES as error:
            raise failure(error, body) from None


class Result(WithRaw, Generic[T], kw_only=True, frozen=True):
    """One record. `T` is its type, such as `Completion`."""

    data: T
    """The record."""


class Page(WithRaw, Generic[T], kw_only=True, frozen=True):
    """One page of a list. `T` is the type of its records, such as `Completion`."""

    data: list[T]
    """The records; may be empty although more follow."""
    next: str | None = None
    """Cursor of the following page; None on the last."""
    total: int | float | None = None
    """How many records the whole list has, where the API tells (courses and content)."""
    next_page: str | None = None
    """Deprecated by the API: use `next`."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = super().__rich_repr__()
        return [(name, _Shortened(self.data) if name == "data" else value) for name, value in shown]

    def _repr_html_(self) -> str:
        return table(self.data)

    @property
    def errors(self) -> tuple[DecodeError, ...]:
        """The records that did not decode, each with its bytes in `.body`; the others are in `data`."""
        return cast("tuple[DecodeError, ...]", self.__dict__.get("_errors", ()))


class _Shortened(list[Any]):
    def __repr__(self) -> str:
        more = f", and {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        return f"[{', '.join(map(repr, self[:SHOWN]))}{more}]"


SHOWN = 3
"""Records of a page that its `repr` shows."""


def note_replaced(answer: Answer) -> None:
    """Note that half of a surrogate pair was replaced in an answer."""
    vars_of(answer)["_replaced"] = True


def record_errors(page: Page[Any], errors: Iterable[DecodeError]) -> None:
    """Note the records of a page that did not decode."""
    vars_of(page)["_errors"] = tuple(errors)


_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


def to_timedelta(duration: str | None) -> timedelta | None:
    """Read an ISO 8601 duration such as `PT1H30M45S`.

    Returns:
        None for None, for what is no duration, and for one with years or months, whose length depends on
        where it starts (`P3Y6M4DT12H30M5S`).
    """
    found = _DURATION.fullmatch(duration) if duration else None
    if found is None or not any(found.groups()):
        return None
    try:
        return timedelta(**{unit: float(n) for unit, n in found.groupdict().items() if n})
    except OverflowError:
        return None


def to_duration(value: timedelta) -> str:
    """Write a timedelta as an ISO 8601 duration, in days, hours, minutes and seconds.

    Raises:
        ValueError: It is negative.
    """
    if value < timedelta(0):
        raise ValueError("a duration cannot be negative")
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    second = f"{seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".") if value.microseconds else str(seconds)
    date = f"{value.days}D" if value.days else ""
    time = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M"), (second, "S")) if n not in (0, "0"))
    return f"P{date}T{time}" if time else f"P{date or 'T0S'}"


def to_wire(moment: datetime) -> str:
    """Write an aware datetime as the API does: UTC, milliseconds, `Z`; microseconds are kept if there are any.

    Raises:
        ValueError: The datetime is naive.
    """
    if moment.utcoffset() is None:
        raise ValueError("a datetime needs a time zone, e.g. datetime(2024, 1, 31, tzinfo=UTC)")
    precision = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # an offset at the ends of the years 1 and 9999: it has no date in UTC
        return moment.isoformat(timespec=precision)
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def to_builtins(value: Any) -> Any:
    """Turn models into plain values of JSON, date-times and durations in the API's own form.

    What was sent beside the fields of a record is written back with it.
    """
    if isinstance(value, msgspec.Struct):
        return _record_to_builtins(value)
    if isinstance(value, dict):
        return {k: to_builtins(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [to_builtins(v) for v in cast("list[Any]", value)]
    if isinstance(value, datetime):
        return to_wire(value)
    if isinstance(value, timedelta):
        return to_duration(value)
    if isinstance(value, msgspec.Raw):
        return parse(value)
    # Bytes stay what they are: msgspec makes base64 of them, which nobody means.
    return value if isinstance(value, _JSON) else msgspec.to_builtins(value, builtin_types=_BYTES, enc_hook=_refuse)


_JSON = (str, int, float, NoneType)
_BYTES = (bytes, bytearray, memoryview)


def _refuse(value: Any) -> Any:
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def _record_to_builtins(record: msgspec.Struct) -> dict[str, Any]:
    left = left_over(record)
    found: dict[str, Any] = {}
    for attribute, name, omitted in _written(type(record)):
        value = getattr(record, attribute)
        if name in left:
            found[name] = left[name]
        elif value is not omitted and value is not UNSET and value != _EMPTY:
            found[name] = to_builtins(value)
    for name, value in left.items():
        found.setdefault(name, value)
    if _takes_extra(type(record)):
        for name, value in (getattr(record, EXTRA) or _NONE).items():
            found.setdefault(name, to_builtins(value))
    return found


_EMPTY = msgspec.Raw()
"""What `raw` is when it was not sent."""


@cache
def _written(cls: type[msgspec.Struct]) -> tuple[tuple[str, str, Any], ...]:
    """Return the fields of a class: attribute, name in JSON, and the value that is not written."""
    omits = cls.__struct_config__.omit_defaults
    return tuple((f.name, name, f.default if omits else UNSET) for name, f in by_name(cls).items())


@cache
def _takes_extra(cls: type[msgspec.Struct]) -> bool:
    return EXTRA in cls.__struct_fields__


def encode(value: Any) -> bytes:
    """Encode models as JSON with date-times in the API's own form, `YYYY-MM-DDTHH:MM:SS.sssZ`."""
    return msgspec.json.encode(to_builtins(value))
