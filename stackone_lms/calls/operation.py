"""How an operation is declared: once, as data, and read off a resource as a method typed for its client.

`Completions[AsyncExecutor].get` is a coroutine function that gives a `CompletionResult`, and
`Completions[SyncExecutor].get` a function that returns one; both come from one line in `api/resources.py`.
"""

from __future__ import annotations

import functools
import inspect
import re
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)
from urllib.parse import quote

import msgspec

from ..checks import known_keywords
from ..errors import InvalidArgumentError
from ..models.base import Page
from ..models.decode import Decoder
from ..models.fields import by_name, item_hint, record_kind
from ..options import VIEW_OPTIONS
from .outcomes import AccountOutcome, AsyncOutcomes, SyncOutcomes
from .query import encode_query, filters, keywords
from .signatures import describe, docstring, not_for_users, parameters_of, place_of, query_type, shown_type

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

if TYPE_CHECKING:
    from types import CoroutineType  # at run time without type arguments up to Python 3.12
else:
    CoroutineType = Coroutine

AsyncCall: TypeAlias = CoroutineType[object, None, R]
"""What a coroutine function returns. (With `Any` in it, mypy would lose the results of `asyncio.gather`.)"""


class CallArguments(msgspec.Struct, frozen=True):
    """What one call supplies: ids for the path, a query (keywords, or already encoded), an encoded body."""

    ids: tuple[str, ...] = ()
    query: Mapping[str, Any] | str = ""
    body: bytes | None = None
    keyed: bool = True
    """Whether the body names its record, so that sending it twice has the effect of sending it once."""


# Executors: what a resource is bound to


class Executor:
    """Takes a described call to the server and brings back its answer.

    Methods of resources are bound to executors, so help() and reprs show the class of one. A subclass says by
    `shown_as=` after which public class it is called there.
    """

    def __init_subclass__(cls, *, shown_as: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if shown_as is not None:
            cls.__name__, cls.__module__ = shown_as, "stackone_lms"

    def execute(self, operation: Operation[Any], args: CallArguments, /) -> Any:
        """Perform one call."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be copied or pickled; make a client in each process")


class AsyncExecutor(Executor):
    """An executor whose answers are awaited."""

    def execute(self, operation: Operation[R], args: CallArguments, /) -> Coroutine[Any, Any, R]:
        """Perform one call."""
        raise NotImplementedError


class SyncExecutor(Executor):
    """An executor whose answers are returned.

    Attributes:
        aio: The executor behind it, which lives on the loop of another thread.
    """

    aio: AsyncExecutor

    def execute(self, operation: Operation[R], args: CallArguments, /) -> R:
        """Perform one call and wait for its answer."""
        answer: R = self.run(self.aio.execute, operation, args)
        return answer

    def run(self, function: Callable[..., Coroutine[Any, Any, T]], /, *args: Any) -> T:
        """Run a coroutine function on the loop of the executor behind, and wait for what it returns."""
        raise NotImplementedError


class PagedList(Protocol):
    """What a list over several accounts needs of the pager of each."""

    @property
    def cursor(self) -> str | None:
        """Where to resume."""
        ...

    def pages(self) -> AsyncGenerator[Page[Any], None]:
        """Yield the pages."""
        ...


class FanOutExecutor(Executor):
    """An executor that performs each read in several accounts."""

    def execute_one(self, operation: Operation[Any], args: CallArguments, /) -> Any:
        """Perform one call in every account, and return an iterator of the outcomes."""
        raise NotImplementedError

    def execute_list(self, operation: Operation[Any], pager: Callable[[AsyncExecutor], PagedList], /) -> Any:
        """Walk a list of every account, and return an iterator of the items."""
        raise NotImplementedError

    def execute(self, operation: Operation[Any], args: CallArguments, /) -> NoReturn:
        """Refuse: what changes something goes to one account."""
        raise TypeError(f"{operation.name}() is not for several accounts at once; use with_options(account_id=...)")


class AsyncFanOutExecutor(FanOutExecutor):
    """One whose outcomes come from an asynchronous iterator."""


class SyncFanOutExecutor(FanOutExecutor):
    """One whose outcomes come from an iterator."""


C_co = TypeVar("C_co", bound=Executor, covariant=True)
C = TypeVar("C", bound=Executor)


class Bound(Generic[C_co]):
    """What is bound to an executor: a client, and each of its resources."""

    @not_for_users("a client makes its resources")
    def __init__(self, executor: C_co) -> None:
        self._executor = executor


def executor_of(bound: Bound[C]) -> C:
    """Return the executor of a client or a resource; for the package itself."""
    return bound._executor  # pyright: ignore[reportPrivateUsage]


class Resource(Bound[C_co]):
    """A group of operations, bound to a client."""

    _place: ClassVar[str]
    """The attribute of a client, where the class is not named after it."""

    def __repr__(self) -> str:
        kind = "a blocking" if isinstance(self._executor, SyncExecutor) else "an async"
        return f"<{place_of(type(self))} of {kind} client>"


# Operations, and the methods made of them


MAX_ID = 1024
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}", re.ASCII)


def encode_id(id: str) -> str:
    """Percent-encode an id as one path segment.

    Any provider id is fine, with slashes, spaces, `#` or letters of any script.

    Raises:
        InvalidArgumentError: It is empty, `.` or `..` (URL resolvers fold those away), not a string, longer than
            1024 characters, or holds control characters or half of a surrogate pair.
    """
    if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"an id must be a string, not {type(id).__name__}")
    if _PLAIN_ID.fullmatch(id):
        return id
    if not id or id in {".", ".."}:
        raise InvalidArgumentError(f"{id!r} cannot be an id")
    if len(id) > MAX_ID:
        raise InvalidArgumentError(f"an id of {len(id)} characters is too long; {MAX_ID} is the most")
    if any(c < " " or "\x7f" <= c <= "\x9f" for c in id):
        raise InvalidArgumentError(f"an id cannot hold control characters: {id!r:.60}")
    if "\\" in id and any(part in {".", ".."} for part in id.replace("\\", "/").split("/")):
        raise InvalidArgumentError(f"{id!r:.60} cannot be an id")
    if any(part in {".", ".."} for part in id.split("/")):
        raise InvalidArgumentError(f"{id!r:.60} cannot be an id: it holds a dot segment")
    try:
        return quote(id, safe="")
    except UnicodeEncodeError:
        raise InvalidArgumentError("an id cannot hold half of a surrogate pair") from None


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
        needs_account: Whether it is performed in a linked account.
        may_be_empty: Whether its answers may be empty, or of any shape.
        secret: Whether its answers hold secrets, which then are in no error.
        declared: Whether its path is a template of the API document, and not one of the caller's.
    """

    needs_account = True
    may_be_empty = False
    secret = False
    declared = True

    def __init__(
        self,
        method: str,
        id: str,
        path: str,
        answer: type[R],
        *,
        source: Callable[..., Any] | None = None,
        body: type[Any] | None = None,
        repeatable: bool | None = None,
        removed: str | None = None,
    ) -> None:
        self.id, self.method, self.path, self.answer, self.body = id, method, path, answer, body
        self.repeatable = method in {"GET", "PUT", "DELETE"} if repeatable is None else repeatable
        self.removed = removed
        self.name = id
        self.arity = path.count("{")
        self._template = "%s".join(part.rpartition("}")[2] for part in path.split("{"))
        self.checks_id = method == "GET" and path.endswith("}")
        self._source = source

    def __repr__(self) -> str:
        return f"<{self.name}: {self.method} {self.path}>"

    # What needs the type hints of a signature source is worked out at the first use.

    @functools.cached_property
    def query(self) -> type | None:
        """The TypedDict of the keywords that it takes; None if it takes none."""
        return query_type(self._source) if self._source else None

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

    @functools.cached_property
    def record(self) -> Any:
        """The model of what its answers hold in `data`: of the record, or of those of a list."""
        answer: Any = self.answer
        data = by_name(answer)["data"].type
        return item_hint(data) or data

    def check(self, ids: tuple[Any, ...], query: Mapping[str, Any]) -> None:
        """Raise TypeError for a wrong number of ids or an unknown keyword, as a plain function would."""
        if len(ids) != self.arity:
            raise TypeError(f"{self.name}() takes {self.arity} id(s) by position, {len(ids)} given")
        if query and not self.keywords.issuperset(query):
            known_keywords(self.name, query, self.keywords, elsewhere=VIEW_OPTIONS)

    def encode(self, query: Mapping[str, Any]) -> str:
        """Return keywords, names already checked, as its query string.

        Raises:
            InvalidArgumentError: A value cannot be sent; see `encode_query`.
        """
        return encode_query(query, self.filters)

    def path_of(self, ids: tuple[str, ...]) -> str:
        """Return its path with these ids in it.

        Raises:
            InvalidArgumentError: One cannot be sent; see `encode_id`.
        """
        if not ids:
            return self.path
        return self._template % (encode_id(ids[0]) if len(ids) == 1 else tuple(map(encode_id, ids)))

    def warn_if_removed(self) -> None:
        """Warn that the newest API lacks this operation, if it does."""
        if self.removed:
            warnings.warn(
                f"{self.method} {self.path} left the StackOne API by {self.removed} and may answer 404",
                DeprecationWarning,
                stacklevel=3,
            )


class Method(Generic[P]):
    """What is declared in the body of a resource class and read off a resource as a method.

    The function behind the method, with its signature and docstring, is made once for each kind of executor and
    shared by all clients and views. Bound to the executor rather than to the resource, a method makes no cycle of
    references, so that a view goes as soon as nobody uses it.

    Attributes:
        operation: What it performs. An operation is named after the first method that is made of it.
        title: How it is called on a client, such as `completions.get`.
    """

    operation: Operation[Any]

    if TYPE_CHECKING:
        # Pyright compares the methods of a protocol with the declared object itself, not with what `__get__` gives.
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...  # noqa: D102

    def __set_name__(self, owner: type, name: str) -> None:
        self._owner, self._name = owner, name
        self._functions: dict[type[Executor], Callable[..., Any]] = {}
        self.title = f"{place_of(owner)}.{name}"
        if self.operation.name == self.operation.id:
            self.operation.name = self.title
        self.__doc__ = self._summary()

    def _summary(self) -> str:
        """Return what the method does, without the HTTP side."""
        raise NotImplementedError

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        """Return the parameters of the method of a client with that kind of executor."""
        raise NotImplementedError

    def _returns(self, kind: type[Executor]) -> Any:
        """Return what the method returns, for its signature."""
        raise NotImplementedError

    def _result(self, kind: type[Executor]) -> str:
        """Return what that is, in words."""
        if issubclass(kind, FanOutExecutor):
            return "An outcome for each account, as it comes."
        answer: Any = self.operation.answer
        data = by_name(answer).get("data")
        record = data and record_kind(data.type)
        return f"The whole answer, with the {shown_type(record)} in `.data`." if record else "The whole answer."

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        """Return a function that takes an executor of that kind, and the arguments of the method."""
        raise NotImplementedError

    def _bind(self, resource: Resource[Any]) -> Any:
        executor: Executor = executor_of(resource)
        kind = type(executor)
        function = self._functions.get(kind)
        if function is None:
            operation, function = self.operation, self._function(kind)
            left = f"Removed from the API in version {operation.removed}; accounts on older versions still have it."
            doc = docstring(
                self._summary(),
                self._owner,
                about=left if operation.removed else "",
                returns=f"{shown_type(self._returns(kind))}: {self._result(kind)}",
            )
            doc = f"{doc}\n\nAPI: {operation.method} {operation.path} ({operation.id})"
            describe(function, self._owner, self._name, doc, self._parameters(kind), self._returns(kind))
            self._functions[kind] = function
        method = resource.__dict__[self._name] = MethodType(function, executor)  # later reads do not come here
        return method


def stream_of(kind: type[Executor], item: Any) -> Any:
    """Return the type of an iterator of `item`, as a method of that kind of executor returns it."""
    if issubclass(kind, SyncExecutor | SyncFanOutExecutor):
        return SyncOutcomes[item]
    return AsyncOutcomes[item]


class Endpoint(Method[P], Generic[P, R]):
    """An operation that takes ids and keywords, and returns its answer.

    Args:
        id: `operationId` in the API document.
        path: Path template.
        answer: Type of the answer.
        source: A function that has the method's signature and docstring; it is never called.
        method: HTTP method.
    """

    def __init__(
        self, id: str, path: str, answer: type[R], source: Callable[P, object], /, method: str = "GET"
    ) -> None:
        self.operation: Operation[R] = Operation(method, id, path, answer, source=source)
        self._source = source

    def _summary(self) -> str:
        return inspect.getdoc(self._source) or ""

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        return parameters_of(self._source)

    def _returns(self, kind: type[Executor]) -> Any:
        answer: Any = self.operation.answer
        return stream_of(kind, AccountOutcome[answer]) if issubclass(kind, FanOutExecutor) else answer

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        operation = self.operation

        async def call_async(executor: AsyncExecutor, /, *ids: Any, **query: Any) -> R:
            operation.check(ids, query)
            return await executor.execute(operation, CallArguments(ids, query))

        def call_each(executor: FanOutExecutor, /, *ids: Any, **query: Any) -> Any:
            operation.check(ids, query)
            return executor.execute_one(operation, CallArguments(ids, query))

        def call(executor: Executor, /, *ids: Any, **query: Any) -> Any:
            operation.check(ids, query)
            return executor.execute(operation, CallArguments(ids, query))

        if issubclass(kind, AsyncExecutor):
            return call_async
        return call_each if issubclass(kind, FanOutExecutor) and operation.method == "GET" else call

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> Callable[P, AsyncCall[R]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> Callable[P, R]: ...
    @overload
    def __get__(
        self, obj: Resource[AsyncFanOutExecutor], owner: type, /
    ) -> Callable[P, AsyncOutcomes[AccountOutcome[R]]]: ...
    @overload
    def __get__(
        self, obj: Resource[SyncFanOutExecutor], owner: type, /
    ) -> Callable[P, SyncOutcomes[AccountOutcome[R]]]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)
