"""Operations with a body: given as a Struct, as a mapping, or as keywords; checked before anything is sent."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Generic, NoReturn, ParamSpec, Protocol, Self, TypeVar, cast, overload

import msgspec

from ..checks import known_keywords
from ..errors import InvalidArgumentError, StackOneError
from ..models.base import Model
from ..models.bodies import Body, extra_last, prepare, prepare_batch
from ..models.results import BatchResult, join_batches
from ..options import VIEW_OPTIONS
from .operation import (
    AsyncCall,
    AsyncExecutor,
    CallArguments,
    Executor,
    FanOutExecutor,
    Method,
    Operation,
    Resource,
    SyncExecutor,
    encode_id,
)
from .signatures import parameters_of

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
B = TypeVar("B", bound=Body)
B_contra = TypeVar("B_contra", contravariant=True)

BATCH = 10_000
"""Items sent in one request at most: the number that StackOne's guide on batches recommends."""


class Send(Protocol[P, B_contra, R_co]):  # pyright: ignore[reportInvalidTypeVarUse]
    """A method that takes a body, whole or as keywords."""

    @overload
    def __call__(self, body: B_contra | Model | Mapping[str, Any], /) -> R_co: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class SendTo(Protocol[P, B_contra, R_co]):  # pyright: ignore[reportInvalidTypeVarUse]
    """A method that takes an id and a body, whole or as keywords."""

    @overload
    def __call__(self, id: str, body: B_contra | Model | Mapping[str, Any], /) -> R_co: ...
    @overload
    def __call__(self, id: str, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _Writing(Method[...], Generic[P, B, R]):
    """What both kinds of write share.

    Args:
        method: HTTP method.
        id: `operationId` in the API document.
        path: Path template.
        body: The Struct of the body; its constructor's keywords are the method's.
        answer: Type of the answer.
        doc: What the method does.
        removed: When the operation left the newest API version; None if it is current.
    """

    def __init__(
        self,
        method: str,
        id: str,
        path: str,
        body: Callable[P, B],
        answer: type[R],
        doc: str,
        *,
        removed: str | None = None,
    ) -> None:
        self._body = cast("type[B]", body)
        self._doc = doc
        self.operation: Operation[R] = Operation(method, id, path, answer, body=self._body, removed=removed)

    def _summary(self) -> str:
        return (
            f"{self._doc}\n\n"
            f"The body is given as a {self._body.__name__}, as a record that was read, as a mapping with the keys of "
            "either, or as keywords. `extra` takes a mapping of keys that the API's document does not have.\n\n"
            "Raises:\n"
            "    InvalidArgumentError: Before any I/O: the body cannot be sent; the message has the path in it.\n"
            "    StackOneError: Everything else; see `stackone_lms.errors`."
        )

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        # The annotations as they are written: evaluated, a language alone would be 410 codes long. That one may be left
        # out is what its default says.
        hints: dict[str, Any] = {}
        for base in reversed(self._body.__mro__):
            hints |= inspect.get_annotations(base)
        named = extra_last(inspect.signature(self._body).parameters.values(), key=lambda parameter: parameter.name)
        keywords = [p.replace(annotation=re.sub(r"^Omittable\[(.*)\]$", r"\1 | None", hints[p.name])) for p in named]
        ids = [inspect.Parameter("id", inspect.Parameter.POSITIONAL_ONLY, annotation=str)]
        return [*(ids if self.operation.arity else []), *keywords]

    def _returns(self, kind: type[Executor]) -> Any:
        return self.operation.answer

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        operation = self.operation

        async def call_async(executor: AsyncExecutor, /, *args: Any, **fields: Any) -> R:
            arguments = self._arguments(args, fields)
            operation.warn_if_removed()
            return await executor.execute(operation, arguments)

        def call(executor: Executor, /, *args: Any, **fields: Any) -> Any:
            arguments = self._arguments(args, fields)
            operation.warn_if_removed()
            return executor.execute(operation, arguments)

        return call_async if issubclass(kind, AsyncExecutor) else call

    def _arguments(self, args: tuple[Any, ...], fields: dict[str, Any]) -> CallArguments:
        operation, body_type = self.operation, self._body
        ids, whole = args[: operation.arity], args[operation.arity :]
        operation.check(ids, {})
        if not VIEW_OPTIONS.keys().isdisjoint(fields):
            names = {field.encode_name for field in msgspec.structs.fields(body_type)}
            known_keywords(operation.name, VIEW_OPTIONS.keys() & fields.keys(), names, elsewhere=VIEW_OPTIONS)
        if len(whole) > 1 or (whole and fields):
            raise TypeError(f"{operation.name}() takes one body: a {body_type.__name__}, a mapping, or keywords")
        body: Any = whole[0] if whole else fields
        for id in ids:
            encode_id(id)
        return CallArguments(ids, body=prepare(body, body_type), keyed=_has_reference(body))


def _has_reference(body: object) -> bool:
    if isinstance(body, Mapping):
        reference = cast("Mapping[object, object]", body).get("external_reference")
    else:
        reference = getattr(body, "external_reference", None)
    return isinstance(reference, str) and bool(reference)


class Write(_Writing[P, B, R]):
    """A write without an id in its path."""

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> Send[P, B, AsyncCall[R]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> Send[P, B, R]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)


class WriteTo(_Writing[P, B, R]):
    """A write with one id in its path."""

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> SendTo[P, B, AsyncCall[R]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> SendTo[P, B, R]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)


class BatchWrite(Method[...], Generic[B]):
    """A write of many items, sent in as many requests as it needs.

    Args:
        id: `operationId` in the API document.
        path: Path template.
        item: The Struct of an item.
        removed: When the operation left the newest API version; None if it is current.
    """

    def __init__(self, id: str, path: str, item: type[B], *, removed: str | None = None) -> None:
        self._item = item
        self.operation: Operation[BatchResult] = Operation(
            "POST", id, path, BatchResult, body=item, repeatable=True, removed=removed
        )

    def _summary(self) -> str:
        return inspect.getdoc(_batch_source) or ""

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        return parameters_of(_batch_source)

    def _returns(self, kind: type[Executor]) -> Any:
        return BatchResult

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        operation, item_type = self.operation, self._item

        async def call_async(executor: AsyncExecutor, items: Iterable[Any], /, **unknown: Any) -> BatchResult:
            known_keywords(operation.name, unknown, (), elsewhere=VIEW_OPTIONS)
            parts = _parts(items, item_type)
            operation.warn_if_removed()
            return await _send_parts(executor, operation, parts)

        def call(executor: SyncExecutor, items: Iterable[Any], /, **unknown: Any) -> BatchResult:
            known_keywords(operation.name, unknown, (), elsewhere=VIEW_OPTIONS)
            parts = _parts(items, item_type)
            operation.warn_if_removed()
            return executor.run(_send_parts, executor.aio, operation, parts)

        def refuse(executor: FanOutExecutor, _: Iterable[Any], /) -> NoReturn:
            executor.execute(operation, CallArguments())

        if issubclass(kind, AsyncExecutor):
            return call_async
        if issubclass(kind, SyncExecutor):
            return call
        return refuse

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncExecutor], owner: type, /
    ) -> Callable[[Iterable[B | Model | Mapping[str, Any]]], AsyncCall[BatchResult]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncExecutor], owner: type, /
    ) -> Callable[[Iterable[B | Model | Mapping[str, Any]]], BatchResult]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)


def _batch_source(items: Iterable[Any], /) -> None:
    """Create or replace many records.

    The server accepts a batch and works it off in the background; what it refused at once is in the result, item by
    item. More than 10,000 items, the number that the API's guide recommends, go in several requests, one after
    the other. If one of those fails, the error has the result of those before it in its attribute `accepted`.

    Args:
        items: Structs, records as they were read, or mappings with the keys of either.

    Raises:
        InvalidArgumentError: Before any I/O: an item cannot be sent, or there are none; the message has the path.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


_Part = tuple[list[Any], CallArguments]


def _parts(items: Iterable[Any], item_type: type[Body]) -> list[_Part]:
    if isinstance(items, str | bytes | Mapping | Body | Model):
        raise InvalidArgumentError(
            f"items must be several {item_type.__name__}, not {type(cast('object', items)).__name__}"
        )
    parts: list[_Part] = []
    rest = iter(items)
    while chunk := list(islice(rest, BATCH)):
        first = len(parts) * BATCH
        keyed = all(_has_reference(item) for item in chunk)
        parts.append((chunk, CallArguments(body=prepare_batch(chunk, item_type, first=first), keyed=keyed)))
    if not parts:
        raise InvalidArgumentError("there are no items to send")
    return parts


async def _send_parts(executor: AsyncExecutor, operation: Operation[BatchResult], parts: list[_Part]) -> BatchResult:
    done: list[tuple[list[Any], BatchResult]] = []
    for items, args in parts:
        try:
            done.append((items, await executor.execute(operation, args)))
        except StackOneError as error:
            error.accepted = join_batches(done) if done else None
            raise
    return join_batches(done)
