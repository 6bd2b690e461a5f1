"""`AsyncClient`: the whole API on one object, and cheap views of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

from .api.accounts import AccountIds, Accounts, AsyncAccounts, AsyncAccountsExecutor, PagedAccountsExecutor
from .base_client import BaseClient
from .calls.lists import AsyncPager
from .calls.operation import AsyncExecutor
from .calls.request import REQUEST_KEYWORDS, RequestResult
from .checks import known_keywords
from .engine.call import BoundExecutor
from .models.accounts import LinkedAccount
from .options import (
    VIEW_OPTIONS,
)

if TYPE_CHECKING:
    from .diagnosis import CheckReport

T = TypeVar("T")

HTTPMethod: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class AsyncClient(BaseClient[AsyncExecutor]):
    """A client of the StackOne Unified LMS API, for asyncio.

    Constructing needs no running event loop and does no I/O. The session is made on the first call, and the client
    stays on that call's loop until that is closed: then it moves to the loop of the next call, with new connections and
    the same limits. Use `async with`, or call `aclose()`.
    """

    def _executor_for(self, bound: BoundExecutor) -> AsyncExecutor:
        return bound

    def for_accounts(self, account_ids: AccountIds | AsyncPager[LinkedAccount]) -> AsyncAccounts:
        """Return the resources of several accounts at once: every read is performed in each of them.

        Args:
            account_ids: The linked accounts: their ids, or what `accounts.list()` delivers; the `pathlib.Path` of a
                file with one id a line; or a pager, such as `client.accounts.list(status="active")`, which each read
                walks before it begins.

        Raises:
            InvalidArgumentError: There are none, or one of them cannot be an account.
        """
        if isinstance(account_ids, AsyncPager):
            return Accounts(PagedAccountsExecutor(account_ids, self._by_account), None)
        executors = self._by_account(account_ids)
        return Accounts(AsyncAccountsExecutor(executors), len(executors))

    @overload
    async def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
        answer: type[T],
    ) -> RequestResult[T]: ...
    @overload
    async def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
    ) -> RequestResult[Any]: ...
    async def request(
        self,
        method: HTTPMethod,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        account_id: str | EllipsisType | None = ...,
        answer: Any = Any,
        **unknown: Any,
    ) -> RequestResult[Any]:
        """Send a request to any endpoint of the API, under the same limits, retries, deadline and errors as all calls.

        Args:
            method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Repeated after a lost answer are GET, PUT and DELETE.
            path: Path below the base URL, such as `/unified/lms/users`; ids in it encoded with
                `urllib.parse.quote(id, safe="")`.
            query: Query parameters; nested mappings become `a[b]=1`, lists repeat the key.
            body: What to send as JSON: plain values, date-times, or models.
            headers: Headers of this request, besides those of the client and the view.
            account_id: The linked account. Default: that of the client or the view. None: the request is sent without
                `x-account-id`, for endpoints that belong to no account.
            answer: Type of what the answer holds: a model, `list[...]`, or whatever msgspec decodes. Default: plain
                JSON.
            **unknown: None; options of a view, such as `timeout`, are those of `with_options`.

        Returns:
            The whole answer; what it holds is in `.data`, None if it was empty.

        Raises:
            TypeError: There is no such keyword.
            InvalidArgumentError: Before any I/O: something cannot be sent.
            StackOneError: Everything else; see `stackone_lms.errors`.
        """
        known_keywords("request", unknown, REQUEST_KEYWORDS, elsewhere=VIEW_OPTIONS)
        executor, operation, args = self._describe_request(method, path, query, body, headers, account_id, answer)
        return await executor.execute(operation, args)

    async def check(self) -> CheckReport:
        """Find out whether everything works: configuration, network, TLS, key, account, a first page of users.

        It sends three requests at most, each once, and waits a minute or two at most where nobody answers.

        Returns:
            What was found, line by line, with what to do about it; nothing secret. What calls fail with is in there,
            and not raised.
        """
        from .diagnosis import diagnose  # noqa: PLC0415 (seldom needed)

        return await diagnose(self._subject())

    async def aclose(self) -> None:
        """Close the client and all its views; calls under way end with ClientClosedError. Closing twice is fine."""
        await self._bound.engine.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
