"""What the API answers to writes."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import msgspec

from .base import Answer, DateTime, Model, attach, vars_of


class WriteAnswer(Answer, kw_only=True, frozen=True):
    """What every answer to a write has."""

    status_code: int | float | None = msgspec.field(name="statusCode", default=None)
    """The status as the body repeats it: may differ from the HTTP `status`, a delete's says 204 in a 200."""
    message: str | None = None
    """What was done, in words."""
    timestamp: DateTime | None = None
    """The server's time of the answer."""


class CreateResultData(Model, kw_only=True, frozen=True):
    """The ids of a new record."""

    SCHEMA = "CreateResultDataApiModel"

    id: str | None = None
    """StackOne's id of the record."""
    remote_id: str | None = None
    """The provider's id of the record."""


class UpsertResultData(Model, kw_only=True, frozen=True):
    """The ids of a record that was created or replaced."""

    SCHEMA = "UpsertResultDataExternalReferenceModel"

    id: str | None = None
    """StackOne's id of the record; only from providers that need it."""
    remote_id: str | None = None
    """The provider's id of the record."""
    external_reference: str | None = None
    """Your own reference of the record."""


class CreateResult(WriteAnswer, kw_only=True, frozen=True):
    """The answer to a create."""

    data: CreateResultData | None = None
    """The ids of the new record."""


class UpsertResult(WriteAnswer, kw_only=True, frozen=True):
    """The answer to an upsert."""

    data: UpsertResultData | None = None
    """The ids of the record."""


class UpdateResult(WriteAnswer, kw_only=True, frozen=True):
    """The answer to an update."""


class DeleteResult(WriteAnswer, kw_only=True, frozen=True):
    """The answer to a delete; all None if it came without a body (204)."""


class BatchResult(WriteAnswer, kw_only=True, frozen=True):
    """The answer to a batch: it was accepted, the work goes on in the background.

    It carries no ids. What became of the items is in StackOne's logs: `client.logs.wait(result)` waits for it.
    """

    SCHEMA = "BatchResultApiModel"

    errors: list[list[str]] | None = None
    """What is wrong with each item, in the order of the items: an empty list for one that was accepted."""

    @property
    def items(self) -> tuple[BatchItem, ...]:
        """Every item that was sent, with what is wrong with it."""
        sent: list[Any] = self.__dict__.get("_items", [])
        found = self.errors or []
        return tuple(BatchItem(item, found[n] if n < len(found) else []) for n, item in enumerate(sent))

    @property
    def rejected(self) -> tuple[BatchItem, ...]:
        """The items with errors."""
        return tuple(item for item in self.items if item.errors)

    @property
    def parts(self) -> tuple[BatchResult, ...]:
        """The answers behind this result: several if the batch had to be split, each with its `request_id`."""
        return cast("tuple[BatchResult, ...]", self.__dict__.get("_parts", (self,)))


class BatchItem(NamedTuple):
    """One item of a batch."""

    item: Any
    """What was sent: the Struct or mapping as given."""
    errors: list[str]
    """What is wrong with it; empty if it was accepted."""


def join_batches(parts: list[tuple[list[Any], BatchResult]]) -> BatchResult:
    """Join the answers to the parts of a batch, each error list beside the item that it belongs to."""
    errors: list[list[str]] = []
    for items, part in parts:
        found = (part.errors or [])[: len(items)]
        errors += found + [[] for _ in range(len(items) - len(found))]
    first = parts[0][1]
    joined = msgspec.structs.replace(first, errors=errors) if len(parts) > 1 else first
    attach(joined, parts[-1][1].response)
    vars_of(joined)["_items"] = [item for items, _ in parts for item in items]
    for items, part in parts if len(parts) > 1 else ():
        vars_of(part)["_items"] = items
    if len(parts) > 1:
        vars_of(joined)["_parts"] = tuple(part for _, part in parts)
    return joined
