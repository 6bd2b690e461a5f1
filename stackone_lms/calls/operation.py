"""How an operation is declared: once, as data, and read off a resource as a method typed for its client.

`Completions[Aio].get` is a function that returns a coroutine of `CompletionResult`, `Completions[Blocking].get` one
that returns `CompletionResult`; both come from one line in `resources`.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar, overload

import msgspec

from ..models.decode import Decoder
from .query import filters, keywords

if TYPE_CHECKING:
    from ..bulk.get_many import BulkRequest
    from ..engine.call import BulkContext
    from .lists import AsyncPager
    from .outcomes import AccountOutcome

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class CallArguments(msgspec.Struct, frozen=True):
    """What one call supplies: ids for the path, a query (keywords, or already encoded), an encoded body."""

    ids: tuple[str, ...] = ()
    query: Mapping[str, Any] | str = ""
    body: bytes | None = None
    keyed: bool = True
    """Whether the body names its record, so that sending it twice has the effect of sending it once."""


class Executor:
    """Takes a described call to the server and brings back its answer."""

    def execute(self, operation: Operation[Any], args: CallArguments, /) -> Any:
        """Perform one call."""
        raise NotImplementedError


class AsyncExecutor(Executor):
    """A carrier whose answers are awaited."""

    def execute(self, operation: Operation[R], args: CallArguments, /) -> Coroutine[Any, Any, R]:
        """Perform one call."""
        raise NotImplementedError

    def bulk_context(self) -> BulkContext:
        """Return what a bulk fetch has to know of the account and the client."""
        raise NotImplementedError

    def for_bulk(self, *, paced: bool) -> AsyncExecutor:
        """Return the same carrier for the calls of a bulk fetch.

        Args:
            paced: Whether they wait for the limit that the account has found for itself.
        """
        raise NotImplementedError


class SyncExecutor(Executor):
    """A carrier whose answers are returned.

    Attributes:
        aio: The carrier behind it, which lives on the loop of another thread.
    """

    aio: AsyncExecutor

    def execute(self, operation: Operation[R], args: CallArguments, /) -> R:
        """Perform one call and wait for its answer."""
        answer: R = self.run(self.aio.execute, operation, args)
        return answer

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any) -> T:
        """Run a coroutine function on the loop of the carrier behind, and wait for what it returns."""
        raise NotImplementedError


class FanOutExecutor(Executor):
    """A carrier that performs each read in several accounts."""

    def carry_one(self, operation: Operation[Any], args: CallArguments, /) -> Any:
        """Perform one call in every account, and return an iterator of the outcomes."""
        raise NotImplementedError

    def execute_list(self, pager: Callable[[AsyncExecutor], AsyncPager[Any]], /) -> Any:
        """Walk a list of every account, and return an iterator of the items."""
        raise NotImplementedError

    def carry_many(self, bulk: BulkRequest, ids: Any, /) -> Any:
        """Fetch many records of every account, and return an iterator of the outcomes."""
        raise NotImplementedError

    def execute(self, operation: Operation[Any], args: CallArguments, /) -> NoReturn:
        """Refuse: what changes something goes to one account."""
        raise TypeError(f"{operation.name}() is not for several accounts at once; use with_options(account_id=...)")


class AsyncFanOutExecutor(FanOutExecutor):
    """One whose outcomes come from an asynchronous iterator."""


class SyncFanOutExecutor(FanOutExecutor):
    """One whose outcomes come from an iterator."""


C_co = TypeVar("C_co", bound=Executor, covariant=True)


class Resource(Generic[C_co]):
    """A group of operations, bound to a client."""

    def __init__(self, carrier: C_co) -> None:
        self._carrier = carrier

    def __repr__(self) -> str:
        kind = "blocking" if isinstance(self._carrier, SyncExecutor) else "async"
        return f"<{type(self).__name__} of a {kind} client>"


class Operation(Generic[R]):
    """One operation of the API, as its document has it.

    Attributes:
        id: `operationId` in the API document.
        method: HTTP method.
        path: Path template, as spelled in the document.
        answer: Type of the decoded answer.
        body: The Struct of its body; None if it takes none.
        repeatable: Whether sending it twice has the effect of sending it once.
        removed: When it left the newest API version; None if it is current.
        name: Resource and verb, such as `completions.get`.
    """

    def __init__(
        self,
        method: str,
        id: str,
        path: str,
        answer: type[R],
        *,
        shape: Callable[..., Any] | None = None,
        body: type[Any] | None = None,
        repeatable: bool | None = None,
        removed: str | None = None,
    ) -> None:
        self.id, self.method, self.path, self.answer, self.body = id, method, path, answer, body
        self.repeatable = method in {"GET", "PUT", "DELETE"} if repeatable is None else repeatable
        self.removed = removed
        self.name = id
        self.arity = path.count("{")
        self.template = "%s".join(part.rpartition("}")[2] for part in path.split("{"))
        self.checks_id = method == "GET" and path.endswith("}")
        self._shape = shape

    def __repr__(self) -> str:
        return f"<{self.name}: {self.method} {self.path}>"

    # What needs the type hints of a shape is worked out at the first use: that takes a tenth of a millisecond each.

    @functools.cached_property
    def query(self) -> type | None:
        """The TypedDict of the keywords that it takes; None if it takes none."""
        return query_of(self._shape) if self._shape else None

    @functools.cached_property
    def keywords(self) -> frozenset[str]:
        """The keywords that it takes."""
        return keywords(self.query) if self.query else frozenset()

    @functools.cached_property
    def filters(self) -> frozenset[str]:
        """Those of them that go into `filter[...]`."""
        return filters(self.query) if self.query else frozenset()

    @functools.cached_property
    def decoder(self) -> Decoder[R]:
        """Decodes its answers."""
        return Decoder(self.answer)

    def check(self, ids: tuple[Any, ...], query: Mapping[str, Any]) -> None:
        """Raise TypeError for a wrong number of ids or an unknown keyword, as a plain function would."""
        if len(ids) != self.arity:
            raise TypeError(f"{self.name}() takes {self.arity} id(s) by position, {len(ids)} given")
        if query and not query.keys() <= self.keywords:
            unknown = min(query.keys() - self.keywords)
            allowed = ", ".join(sorted(self.keywords)) or "none"
            raise TypeError(f"{self.name}() got an unexpected keyword argument {unknown!r}; allowed: {allowed}")

    def announce(self) -> None:
        """Warn that the newest API lacks this operation, if it does."""
        if self.removed:
            warnings.warn(
                f"{self.method} {self.path} left the StackOne API by {self.removed} and may answer 404",
                DeprecationWarning,
                stacklevel=3,
            )

    def present(
        self, call: Callable[..., Any], owner: type, name: str, shape: Callable[..., Any], returns: Any
    ) -> None:
        """Give a bound method the name, signature and docstring that help() and inspect show.

        Args:
            call: The method.
            owner: The resource class it is read from.
            name: Its name there.
            shape: A function that has its signature and its description.
            returns: What it returns, for the signature.
        """
        call.__name__, call.__qualname__, call.__module__ = name, f"{owner.__name__}.{name}", owner.__module__
        left = f"Left the newest API version by {self.removed}; accounts on older ones still have it.\n\n"
        doc = inspect.getdoc(shape) or ""
        call.__doc__ = f"{doc}\n\n{left if self.removed else ''}API: {self.method} {self.path} ({self.id})"
        call.__signature__ = signature(shape, returns)  # type: ignore[attr-defined]


class _LeftOut:
    def __repr__(self) -> str:
        return "..."


_LEFT_OUT = _LeftOut()


def query_of(shape: Callable[..., Any]) -> type | None:
    """Return the TypedDict in the `**query: Unpack[...]` of a shape, None if it has none."""
    for name, parameter in inspect.signature(shape).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            unpacked = typing.get_type_hints(shape, vars(sys.modules[shape.__module__]))[name]
            return typing.get_args(unpacked)[0]  # type: ignore[no-any-return]
    return None


def signature(shape: Callable[..., Any], returns: Any) -> inspect.Signature:
    """Return the signature of `shape` with its `**query` spelled out as keyword-only parameters."""
    positional = [p for p in inspect.signature(shape).parameters.values() if p.kind is not p.VAR_KEYWORD]
    query = query_of(shape)
    hints = typing.get_type_hints(query) if query else {}
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=_LEFT_OUT)
        for name, hint in hints.items()
    ]
    return inspect.Signature([*positional, *named], return_annotation=returns)


class Endpoint(Generic[P, R]):
    """An operation that takes ids and keywords, and returns its answer.

    Args:
        id: `operationId` in the API document.
        path: Path template.
        answer: Type of the answer.
        shape: A function that has the method's signature and description; it is never called.
        method: HTTP method.
    """

    def __init__(self, id: str, path: str, answer: type[R], shape: Callable[P, object], /, method: str = "GET") -> None:
        self.operation: Operation[R] = Operation(method, id, path, answer, shape=shape)
        self._shape = shape

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self.operation.name = f"{owner.__name__}.{name}"
        self.__doc__ = inspect.getdoc(self._shape)

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> Callable[P, R]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> Callable[P, AsyncGenerator[AccountOutcome[R], None]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> Callable[P, Generator[AccountOutcome[R], None, None]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        if obj is None:
            return self
        operation, carrier = self.operation, obj._carrier  # pyright: ignore[reportPrivateUsage]
        execute = (
            carrier.carry_one if isinstance(carrier, FanOutExecutor) and operation.method == "GET" else carrier.execute
        )

        arity, known = operation.arity, operation.keywords

        def call(*ids: Any, **query: Any) -> Any:
            if len(ids) != arity or not known.issuperset(query):
                operation.check(ids, query)
            return execute(operation, CallArguments(ids, query))

        operation.present(call, owner, self._name, self._shape, operation.answer)
        obj.__dict__[self._name] = call  # bound once: later reads do not come here
        return call
