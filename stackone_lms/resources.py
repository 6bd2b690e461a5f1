"""The API on one screen: every operation, declared once for both clients."""

from __future__ import annotations

from typing import Unpack

from .endpoint import C_co, Endpoint, Resource
from .models import Completion, CompletionResult
from .pager import Listing
from .query import GetQuery, ListQuery


def one(id: str, /, **query: Unpack[GetQuery]) -> None:
    """Get one record.

    Args:
        id: StackOne's id of the record, or the provider's; sent as one path segment.
        **query: How the read is narrowed.

    Raises:
        InvalidArgumentError: Before any I/O: the id or a value cannot be sent.
        NotFoundError: There is no such record.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def many(**query: Unpack[ListQuery]) -> None:
    """List records.

    Args:
        **query: How the list is narrowed, where it starts and ends.

    Raises:
        InvalidArgumentError: Before any I/O: a value cannot be sent.
    """


class Completions(Resource[C_co]):
    """Records of users finishing learning objects."""

    get = Endpoint("lms_get_completion", "/unified/lms/completions/{id}", CompletionResult, one)
    """Get one completion."""
    list = Listing("lms_list_completions", "/unified/lms/completions", Completion, many)
    """List completions."""
