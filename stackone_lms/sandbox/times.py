"""The one form in which the API writes a moment: `2021-07-21T14:00:00.000Z`."""

import re
from datetime import UTC, datetime

_FORM = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)


def stamp(moment: datetime) -> str:
    """Write an aware moment in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def normalise(text: str) -> str | None:
    """Rewrite an ISO 8601 date or date-time the way `stamp` does; None if it is neither.

    What has no zone is read as UTC. Two results compare as text the way the moments do.
    """
    if not _FORM.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
