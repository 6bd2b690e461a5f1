"""The endpoints beside the LMS operations: accounts, request logs, connect sessions. They belong to no account."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, ParamSpec, TypedDict, TypeVar, cast
from urllib.parse import quote, urlencode

import msgspec

from ..checks import known_keywords, whole_number
from ..errors import InvalidArgumentError
from ..models.accounts import LinkedAccount
from ..models.base import Page
from ..models.bodies import Body, prepare
from ..models.connect_sessions import AuthenticateConnectSession, ConnectSession
from ..models.decode import Decoder
from ..models.unwrapped import UnwrappedDecoder
from ..options import VIEW_OPTIONS
from .lists import WALK_PAGE, Following, Listing, ListRequest
from .operation import AsyncExecutor, CallArguments, Endpoint, Executor, Operation
from .query import encode_moment
from .writes import Write

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
B = TypeVar("B", bound=Body)

AccountStatus = Literal["active", "inactive", "suspended", "archived", "expired", "error"]
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "status": ("active", "inactive", "suspended", "archived", "expired", "error"),
    "include": ("step_logs", "advanced_logs"),
    "order_by": ("provider", "service", "status", "eventDatetime", "duration"),
    "order_direction": ("asc", "desc"),
}


class AccountQuery(TypedDict, total=False):
    """Keywords of the list of accounts."""

    providers: str | Iterable[str]
    """Only accounts of these providers, by their keys."""
    origin_owner_ids: str | Iterable[str]
    """Only accounts of these customers, by your own ids of them."""
    account_ids: str | Iterable[str]
    """Only these accounts."""
    status: AccountStatus | Iterable[AccountStatus]
    """Only accounts of this status, or of one of these; `active` ones serve."""
    page_size: int
    """Accounts a page. Default: 100."""
    next: str
    """Number of the page to start from, as `.cursor` has it, with the same `page_size`."""
    max_items: int
    """Stop after so many accounts."""


class LogQuery(TypedDict, total=False):
    """Keywords of one log."""

    include: Literal["step_logs", "advanced_logs"]
    """`step_logs`: with the calls to the provider. `advanced_logs`: with headers and bodies, too."""


class LogListQuery(TypedDict, total=False):
    """Keywords of the list of logs."""

    account_ids: str | Iterable[str]
    """Only requests of these accounts."""
    request_ids: str | Iterable[str]
    """Only these requests."""
    start_date: datetime | str
    """Only requests since then."""
    end_date: datetime | str
    """Only requests until then."""
    http_methods: str | Iterable[str]
    """Only requests with these methods."""
    providers: str | Iterable[str]
    """Only requests to these providers."""
    services: str | Iterable[str]
    """Only requests to these APIs, such as `lms`."""
    resources: str | Iterable[str]
    """Only requests for these resources, such as `users`."""
    child_resources: str | Iterable[str]
    """Only requests for these resources below them."""
    sub_resources: str | Iterable[str]
    """Only requests for these resources below those."""
    actions: str | Iterable[str]
    """Only requests that did this, such as `list`."""
    status_codes: int | str | Iterable[int | str]
    """Only requests that were answered so."""
    success: bool
    """Only those that succeeded, or that failed."""
    order_by: Literal["provider", "service", "status", "eventDatetime", "duration"]
    """What they are ordered by."""
    order_direction: Literal["asc", "desc"]
    """In which direction."""
    include: Literal["step_logs"]
    """With the calls to the provider."""
    page_size: int
    """Logs a page, 100 at most."""
    next: str
    """Cursor to start from."""
    max_items: int
    """Stop after so many logs."""


_LARGEST_LOG_PAGE = 100
_IDS = frozenset({"account_ids", "request_ids"})
_PLAIN = frozenset({"include", "order_by", "order_direction", "page_size", "next"})
"""Parameters of the list of logs that do not go into `filter[...]`."""


def encode_accounts(query: Mapping[str, Any]) -> str:
    """Encode the keywords of the list of accounts: a list repeats its key; a cursor is the number of a page."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if name == "next" and value is not None:
            if not isinstance(value, str) or not value.isdecimal() or int(value) < 1:
                raise InvalidArgumentError(f"next must be the number of a page, such as '2', not {value!r:.60}")
            pairs.append(("page", value))
        elif name == "page_size" and value is not None:
            pairs.append((name, str(whole_number(name, value, at_least=1))))
        elif value is not None:
            pairs += [(name, text) for text in _texts(name, value)]
    return _encoded(pairs)


def encode_logs(query: Mapping[str, Any]) -> str:
    """Encode the keywords of logs: filters in `filter[...]`, their lists separated by commas."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None:
            continue
        if name in ("start_date", "end_date"):
            text = encode_moment(name, value)
        elif name == "page_size":
            if whole_number(name, value, at_least=1) > _LARGEST_LOG_PAGE:
                raise InvalidArgumentError(f"page_size must be {_LARGEST_LOG_PAGE} or less, not {value!r:.60}")
            text = str(value)
        elif name == "success":
            if not isinstance(value, bool):
                raise InvalidArgumentError(f"success must be True or False, not {type(value).__name__}")
            text = "true" if value else "false"
        elif name in _PLAIN:
            (text,) = _texts(name, [value])
        else:
            texts = _texts(name, value)
            if any("," in one for one in texts):
                raise InvalidArgumentError(f"{name} must hold values without commas")
            text = ",".join(texts)
        pairs.append((name if name in _PLAIN else f"filter[{name}]", text))
    return _encoded(pairs)


def _texts(name: str, value: Any) -> list[str]:
    """Return one value, or several, as texts."""
    if isinstance(value, Mapping | bytes) or not isinstance(value, str | int | Iterable) or isinstance(value, bool):
        raise InvalidArgumentError(f"{name} must be a string or strings, not {type(cast('object', value)).__name__}")
    texts: list[str] = []
    for one in [value] if isinstance(value, str | int) else cast("Iterable[object]", value):
        text = str(one) if isinstance(one, int) and not isinstance(one, bool) and name == "status_codes" else one
        if not isinstance(text, str) or not text or text != text.strip():
            raise InvalidArgumentError(f"{name} must hold strings without white space around them, not {one!r:.60}")
        if name in _CHOICES and text not in _CHOICES[name]:
            raise InvalidArgumentError(f"{name} {text!r:.60} is unknown; allowed: {', '.join(_CHOICES[name])}")
        if name in _IDS and any(c.isspace() for c in text):
            raise InvalidArgumentError(f"{name} must hold ids without white space, not {text!r:.60}")
        texts.append(text)
    if not texts:
        raise InvalidArgumentError(f"{name} is empty: leave it out to list all")
    return texts


def _encoded(pairs: list[tuple[str, str]]) -> str:
    try:
        return urlencode(pairs, quote_via=quote, safe="")
    except UnicodeEncodeError:
        raise InvalidArgumentError("a value holds half of a surrogate pair") from None


class PlatformOperation(Operation[R]):
    """An endpoint that belongs to no account: no `x-account-id` is sent.

    Args:
        method: HTTP method.
        id: `operationId` in StackOne's document.
        path: Path template.
        answer: Type of the decoded answer.
        source: The signature source of its method.
        body: The Struct of its body; None if it takes none.
        encode: Encodes its keywords.
        decoder: Makes what decodes its answers.
        secret: Whether its answers hold secrets.
    """

    needs_account = False

    def __init__(
        self,
        method: str,
        id: str,
        path: str,
        answer: type[R],
        *,
        source: Callable[..., Any] | None = None,
        body: type[Any] | None = None,
        encode: Callable[[Mapping[str, Any]], str] = encode_logs,
        decoder: Callable[[type[R]], Decoder[R]] = Decoder,
        secret: bool = False,
    ) -> None:
        super().__init__(method, id, path, answer, source=source, body=body)
        self.checks_id = False
        self.secret = secret
        self._encode, self._make_decoder = encode, decoder

    @functools.cached_property
    def decoder(self) -> Decoder[R]:
        """Decodes its answers."""
        return self._make_decoder(self.answer)

    def encode(self, query: Mapping[str, Any]) -> str:
        """Return keywords, names already checked, as its query string.

        Raises:
            InvalidArgumentError: A value cannot be sent; the message names those that are allowed.
        """
        return self._encode(query)

    def path_of(self, ids: tuple[str, ...]) -> str:
        """Return its path with these ids in it, which are StackOne's own.

        Raises:
            InvalidArgumentError: One cannot be sent, or holds white space.
        """
        for id in ids:
            if isinstance(id, str) and any(c.isspace() for c in id):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgumentError(f"the id of an account or request holds no white space: {id!r:.60}")
        return super().path_of(ids)


class PlatformEndpoint(Endpoint[P, R]):
    """An endpoint that takes ids and keywords, and returns its answer.

    Args:
        id: `operationId` in StackOne's document.
        path: Path template.
        answer: Type of the answer.
        source: The signature source of the method.
        decoder: Makes what decodes the answers.
        secret: Whether the answers hold secrets.
    """

    def __init__(
        self,
        id: str,
        path: str,
        answer: type[R],
        source: Callable[P, object],
        /,
        *,
        decoder: Callable[[type[R]], Decoder[R]] = Decoder,
        secret: bool = False,
    ) -> None:
        super().__init__(id, path, answer, source)
        self.operation = PlatformOperation("GET", id, path, answer, source=source, decoder=decoder, secret=secret)


class LogListing(Listing[P, T]):
    """The list of logs."""

    def __init__(self, id: str, path: str, item: type[T], source: Callable[P, object], /) -> None:
        super().__init__(id, path, item, source)
        answer: type[Page[T]] = Page[item]  # type: ignore[valid-type]
        self.operation = PlatformOperation("GET", id, path, answer, source=source)


class AccountListing(Listing[P, LinkedAccount]):
    """The list of accounts, whose pages are numbered from 1.

    It ends with a page that is shorter than the first, or brings nothing new: a server that takes no notice of the
    number sends the same page again.
    """

    def __init__(self, id: str, path: str, source: Callable[P, object], /) -> None:
        super().__init__(id, path, LinkedAccount, source)
        self.operation = PlatformOperation(
            "GET", id, path, Page[LinkedAccount], source=source, encode=encode_accounts, decoder=UnwrappedDecoder,
            secret=True,
        )  # fmt: skip

    def _request(self, ids: tuple[Any, ...], query: Mapping[str, Any]) -> ListRequest[LinkedAccount]:
        # Always a size, so that the number of a page means the same wherever a walk begins.
        size = query.get("page_size")
        query = {**query, "page_size": WALK_PAGE if size is None else size}
        return ListRequest(self.operation, ids, query, _by_number)


def _by_number() -> Following:
    seen: set[str | None] = set()
    first: int | None = None

    def following(page: Page[Any], asked: str | None) -> str | None:
        nonlocal first
        accounts: list[LinkedAccount] = page.data
        size = len(accounts) + len(page.errors)
        new = [account for account in accounts if account.id not in seen]
        seen.update(account.id for account in new)
        accounts[:] = new
        first = size if first is None else first
        number = str(int(asked or "1") + 1) if new and size >= first else None
        msgspec.structs.force_setattr(page, "next", number)
        return number

    return following


class PlatformWrite(Write[P, B, R], Generic[P, B, R]):
    """A write that belongs to no account, and whose answer holds secrets."""

    def __init__(self, method: str, id: str, path: str, body: Callable[P, B], answer: type[R], doc: str) -> None:
        super().__init__(method, id, path, body, answer, doc)
        self.operation = PlatformOperation(method, id, path, answer, body=cast("type[B]", body), secret=True)


class TokenEndpoint(PlatformEndpoint[P, ConnectSession]):
    """The endpoint that takes the token of a connect session in its body."""

    def __init__(self, id: str, path: str, source: Callable[P, object], /) -> None:
        super().__init__(id, path, ConnectSession, source)
        self.operation = PlatformOperation(
            "POST", id, path, ConnectSession, body=AuthenticateConnectSession, secret=True
        )

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        operation = self.operation

        async def call_async(executor: AsyncExecutor, token: str, /, **unknown: Any) -> ConnectSession:
            known_keywords(operation.name, unknown, (), elsewhere=VIEW_OPTIONS)
            return await executor.execute(operation, _token_arguments(token))

        def call(executor: Executor, token: str, /, **unknown: Any) -> Any:
            known_keywords(operation.name, unknown, (), elsewhere=VIEW_OPTIONS)
            return executor.execute(operation, _token_arguments(token))

        return call_async if issubclass(kind, AsyncExecutor) else call


def _token_arguments(token: Any) -> CallArguments:
    if not isinstance(token, str) or not token or token != token.strip():
        raise InvalidArgumentError("the token must be a string without white space around it")
    return CallArguments(body=prepare(AuthenticateConnectSession(token=token), AuthenticateConnectSession))
