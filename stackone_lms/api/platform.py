"""What stands beside the LMS operations: linked accounts, request logs, connect sessions.

Sources: the OpenAPI document inside StackOne's C# client, and their TypeScript and Ruby clients.
"""

from __future__ import annotations

from typing import Unpack

from ..bulk.batch_outcomes import Waiting
from ..calls.operation import C_co, Resource
from ..calls.platform import (
    AccountListing,
    AccountQuery,
    LogListing,
    LogListQuery,
    LogQuery,
    PlatformEndpoint,
    PlatformWrite,
    TokenEndpoint,
)
from ..models.accounts import AccountMeta, LinkedAccountResult
from ..models.connect_sessions import ConnectSession, CreateConnectSession
from ..models.logs import RequestLog, RequestLogResult
from ..models.unwrapped import UnwrappedDecoder

# Signature sources: they give methods their signatures and docstrings, and are never called.


def one_account(id: str, /) -> None:
    """Get one linked account, whatever its status.

    Args:
        id: What `account_id=` takes.

    Raises:
        InvalidArgumentError: Before any I/O: the id cannot be sent.
        NotFoundError: The key has no such account.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def many_accounts(**query: Unpack[AccountQuery]) -> None:
    """List linked accounts: what `account_id=` and `for_accounts` take.

    Pages are numbered, without a total: there is always one more request, which brings nothing new.

    Args:
        providers: Only accounts of these providers, by their keys.
        origin_owner_ids: Only accounts of these customers, by your own ids of them.
        account_ids: Only these accounts.
        status: Only accounts of this status, or of one of these; `active` ones serve.
        page_size: Accounts a page. Default 100.
        next: Number of the page to start from, as `.cursor` has it, with the same `page_size`.
        max_items: Stop after so many accounts.

    Raises:
        InvalidArgumentError: At once, before any I/O: a value cannot be sent.
        StackOneError: While iterating: everything else; see `stackone_lms.errors`.
    """


def one_log(id: str, /, **query: Unpack[LogQuery]) -> None:
    """Get the log of one request. It may come seconds after the answer.

    Args:
        id: The `request_id` of an answer or of an error.
        include: `step_logs`: with the calls to the provider; `advanced_logs`: with headers and bodies, too.

    Raises:
        InvalidArgumentError: Before any I/O: the id or a value cannot be sent.
        NotFoundError: There is no log of this request, or none yet.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def many_logs(**query: Unpack[LogListQuery]) -> None:
    """List the logs of requests.

    Args:
        account_ids: Only requests of these accounts.
        request_ids: Only these requests.
        start_date: Only requests since then: an aware datetime, or ISO 8601 text.
        end_date: Only requests until then.
        http_methods: Only requests with these methods.
        providers: Only requests to these providers.
        services: Only requests to these APIs, such as `lms`.
        resources: Only requests for these resources, such as `users`.
        child_resources: Only requests for these resources below them.
        sub_resources: Only requests for these resources below those.
        actions: Only requests that did this, such as `list`.
        status_codes: Only requests that were answered so.
        success: Only those that succeeded, or that failed.
        order_by: What they are ordered by.
        order_direction: `asc` or `desc`.
        include: `step_logs`: with the calls to the provider.
        page_size: Logs a page, 100 at most.
        next: Cursor to start from.
        max_items: Stop after so many logs.

    Raises:
        InvalidArgumentError: At once, before any I/O: a value cannot be sent.
        PaginationError: While iterating: the server repeated a cursor.
        StackOneError: While iterating: everything else; see `stackone_lms.errors`.
    """


def by_token(token: str, /) -> None:
    """Return the session of a token, without its secrets.

    Args:
        token: The token: a secret.

    Raises:
        InvalidArgumentError: Before any I/O: it cannot be a token.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


class LinkedAccounts(Resource[C_co]):
    """The connections to customers' learning systems that the API key has."""

    _place = "accounts"

    list = AccountListing("stackone_list_linked_accounts", "/accounts", many_accounts)
    """List accounts."""
    get = PlatformEndpoint(
        "stackone_get_account",
        "/accounts/{id}",
        LinkedAccountResult,
        one_account,
        decoder=UnwrappedDecoder,
        secret=True,
    )
    """Get one account."""
    meta = PlatformEndpoint("stackone_get_account_meta_info", "/accounts/{id}/meta", AccountMeta, one_account)
    """Tell what the provider of an account supports. Legacy: StackOne has deprecated it since 2026-04."""


class RequestLogs(Resource[C_co]):
    """What StackOne noted of requests, and of the calls to the providers behind them."""

    _place = "logs"

    get = PlatformEndpoint("stackone_get_log", "/requests/logs/{id}", RequestLogResult, one_log)
    """Get the log of one request."""
    list = LogListing("stackone_list_logs", "/requests/logs", RequestLog, many_logs)
    """List logs."""
    wait = Waiting(get)
    """Wait for what becomes of the items of a batch."""


class ConnectSessions(Resource[C_co]):
    """Links with which a customer connects a learning system."""

    create = PlatformWrite(
        "POST",
        "stackone_create_connect_session",
        "/connect_sessions",
        CreateConnectSession,
        ConnectSession,
        "Make a link with which a customer connects a learning system. Its token and links are secrets.",
    )
    """Make a link for a customer."""
    authenticate = TokenEndpoint("stackone_authenticate_connect_session", "/connect_sessions/authenticate", by_token)
    """Return the session of a token."""
