"""What is remembered of a list: how it was written, or what it failed with."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from ..errors import StackOneError, printable
from ..models.base import to_wire
from .plan import Plan
from .state import manifest
from .state.journal import Header, Journal
from .state.manifest import Failed, ListEntry, SkippedUser
from .targets.base import Describe, ListJob, WriteResult


def now() -> str:
    """Return the present moment as manifests have it."""
    return to_wire(datetime.now(UTC))


def describe_list(job: ListJob, journal: Journal, base: ListEntry | None, plan: Plan, run: str) -> Describe:
    """Return what says what is to be remembered of a list that was written.

    Args:
        job: The list.
        journal: What was fetched.
        base: What was there before, if it was merged with that.
        plan: What was asked for.
        run: What tells this run from others.
    """
    header, checkpoint = journal.header, journal.checkpoint
    since = header.query.get("updated_after") if base is None else base.parameters.get("since")

    def describe(written: WriteResult) -> ListEntry:
        found = written.duplicates
        newest = found.newest
        if newest is not None:
            # A provider's clock that runs ahead must not hide what changes until then; nor may ours.
            newest = min(newest, datetime.fromisoformat(checkpoint.as_of or header.started))
        return ListEntry(
            resource=job.resource.name,
            account_id=job.account,
            account_name=job.account_name,
            records=written.records,
            new=written.new,
            changed=written.changed,
            fetched=checkpoint.records,
            superseded=len(found.superseded),
            missing_users=checkpoint.missing,
            replaced=checkpoint.replaced,
            skipped_users=[SkippedUser(**msgspec.structs.asdict(one)) for one in journal.skipped],
            oldest_update=manifest.moment(found.oldest),
            newest_update=manifest.moment(found.newest),
            high_water=_high_water(header, base, plan, manifest.moment(newest)),
            undated=found.undated,
            incremental=header.merge,
            full=header.started if base is None else base.full,
            parameters={**plan.content_parameters(), "since": since, "page_size": plan.page_size},
            run=run,
            asked=plan.asked(),
            started=header.started,
            finished=now(),
            tried=header.started,
            files=written.files,
        )

    return describe


def _high_water(header: Header, base: ListEntry | None, plan: Plan, newest: str | None) -> str | None:
    """Return up to where all changes are known; None: they are not."""
    if base is None or plan.since is None:
        return newest
    if any(base.parameters.get(name) != value for name, value in plan.content_parameters().items()):
        return None
    if base.high_water is not None and header.query["updated_after"] <= base.high_water:
        return newest
    return base.high_water  # there is a gap between that and `since`


def failure_of(error: StackOneError) -> Failed:
    """Return what is remembered of an error."""
    return Failed(
        type=type(error).__name__,
        message=printable(error.message, 500),
        status=error.status if isinstance(error.status, int) else None,
        request_id=error.request_id,
    )
