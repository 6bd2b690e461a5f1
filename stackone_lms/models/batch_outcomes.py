"""What became of the items of a batch, as far as the log of its request tells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

from .base import to_builtins
from .logs import RequestLog, StepLog
from .results import BatchItem


class BatchItemOutcome(NamedTuple):
    """What became of one item of a batch."""

    item: Any
    """What was sent: the Struct or mapping as given."""
    status: Literal["succeeded", "failed", "pending"]
    """`pending`: the log does not tell yet."""
    errors: list[str]
    """Why it failed; empty otherwise."""


class BatchOutcome(NamedTuple):
    """What became of a batch, item by item, in the order in which they were sent."""

    items: tuple[BatchItemOutcome, ...]
    """All items."""
    logs: tuple[RequestLog, ...]
    """The logs that it was read from: one for each request that the batch was sent in, if there is one yet."""

    @property
    def succeeded(self) -> tuple[BatchItemOutcome, ...]:
        """The items that the provider took."""
        return self._with("succeeded")

    @property
    def failed(self) -> tuple[BatchItemOutcome, ...]:
        """The items that StackOne or the provider refused."""
        return self._with("failed")

    @property
    def pending(self) -> tuple[BatchItemOutcome, ...]:
        """The items of which nothing is known yet."""
        return self._with("pending")

    def _with(self, status: str) -> tuple[BatchItemOutcome, ...]:
        return tuple(outcome for outcome in self.items if outcome.status == status)


def outcomes(items: Iterable[BatchItem], log: RequestLog | None) -> Iterator[BatchItemOutcome]:
    """Join the items of a batch with the log of its request.

    The log has a call to the provider for each item, or for several at once. A call belongs to the items whose
    `external_reference` is somewhere in its body; the last call that does counts. Where the log has no bodies or an
    item no reference, the calls are counted: if there are as many as accepted items, they are taken in order.

    Args:
        items: What was sent, with what the answer said.
        log: The log with its `step_requests`; None if there is none yet.
    """
    items = list(items)
    accepted = [item for item in items if not item.errors]
    references = {id(item): _reference(item.item) for item in accepted}
    wanted = set(references.values())
    calls = [step for step in (log.step_requests or () if log else ()) if step.http_method not in ("GET", "HEAD")]
    bodies = [(step, step.request.body) for step in calls if step.request]
    by_reference = {text: step for step, body in bodies for text in _texts(body) if text in wanted}
    in_order = dict(zip(references, calls, strict=True)) if len(calls) == len(accepted) else {}
    for item in items:
        reference = references.get(id(item))
        call = by_reference.get(reference) if reference is not None else None
        if call is None and (reference is None or not by_reference):
            call = in_order.get(id(item))
        if item.errors:
            yield BatchItemOutcome(item.item, "failed", item.errors)
        elif call is not None and (call.success is not None or call.status is not None):
            errors = _errors(call)
            yield BatchItemOutcome(item.item, "failed" if errors else "succeeded", errors)
        elif log is not None and not calls and log.success is False and log.end_time is not None:
            yield BatchItemOutcome(item.item, "failed", _errors(log))
        else:
            yield BatchItemOutcome(item.item, "pending", [])


def _reference(item: Any) -> str | None:
    if isinstance(item, Mapping):
        found = cast("Mapping[str, Any]", item).get("external_reference")
    else:
        found = getattr(item, "external_reference", None)
    return found if isinstance(found, str) and found else None


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a body, also in one that was logged as a string of JSON."""
    if isinstance(value, str):
        yield value
        if value[:1] in ("{", "["):
            try:
                yield from _texts(json.loads(value))
            except (ValueError, RecursionError):
                return
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            yield from _texts(item)


def _errors(log: StepLog | RequestLog) -> list[str]:
    """Return why a call failed; empty if it succeeded."""
    failed = log.success is False if log.success is not None else (log.status or 0) >= 400
    if not failed:
        return []
    response = log.response
    told = [error.raw for error in (response.provider_errors if response else None) or ()]
    if not told and response is not None and response.body is not None:
        told = [response.body]
    status = "" if log.status is None else f" ({log.status:g})"
    return [_in_words(value) for value in told if value not in (None, "")] or [f"the call failed{status}"]


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        for name in ("message", "error", "detail", "title"):
            if isinstance(fields.get(name), str):
                return cast("str", fields[name])
    return value if isinstance(value, str) else json.dumps(to_builtins(value), ensure_ascii=False)
