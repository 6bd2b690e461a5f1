"""The log of the package, readable on standard error where `STACKONE_LOG` asks for it."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from .errors import ConfigurationError

log = logging.getLogger("stackone_lms")

LINE = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}


KEYS = ("operation", "account_id", "method", "path", "attempt", "status", "error", "pause")
"""What records of the log say besides their message: attributes of the record, by the names of those of errors."""


class JsonFormatter(logging.Formatter):
    """Makes a line of JSON of each record.

    Its keys: `time` (UTC), `level`, `logger`, `message`, those of `KEYS` that the record has, `exception`, and within
    a span of OpenTelemetry `trace_id` and `span_id`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        own = {name: value for name in KEYS if (value := getattr(record, name, None)) is not None}
        exception = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        line = json_line(record.levelname, record.name, record.getMessage(), record.created)
        return json.dumps({**line, **own, **span_ids(), **exception}, default=str)


def json_line(level: str, logger: str, message: str, created: float) -> dict[str, Any]:
    """Return what every line of JSON has.

    Args:
        level: Such as `INFO`.
        logger: Which logger.
        message: What is said.
        created: When, in seconds since the epoch.
    """
    time = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": time, "level": level, "logger": logger, "message": message}


def span_ids() -> dict[str, str]:
    """Return the ids of the trace and the span that are current, as far as OpenTelemetry is in use."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error."""


def set_up_logging() -> None:
    """Write the package's log to standard error if STACKONE_LOG is `debug` or `info`; once a process.

    Raises:
        ConfigurationError: It is something else.
    """
    wanted = os.environ.get("STACKONE_LOG", "").strip()
    if not wanted:
        return
    level = _LEVELS.get(wanted.lower())
    if level is None:
        raise ConfigurationError(f"STACKONE_LOG must be debug or info, not {wanted!r:.60}")
    log.setLevel(level)
    handlers = [*log.handlers, *logging.getLogger().handlers]
    if not any(isinstance(one, _Handler) or isinstance(one.formatter, JsonFormatter) for one in handlers):
        handler = _Handler()
        handler.setFormatter(logging.Formatter(LINE, "%H:%M:%S"))
        log.addHandler(handler)
