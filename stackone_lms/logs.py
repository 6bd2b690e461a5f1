"""The log of the package, readable on standard error where `STACKONE_LOG` asks for it."""

from __future__ import annotations

import logging
import os

from .errors import ConfigurationError

log = logging.getLogger("stackone_lms")

LINE = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO}


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
    if not any(isinstance(handler, _Handler) for handler in log.handlers):
        handler = _Handler()
        handler.setFormatter(logging.Formatter(LINE, "%H:%M:%S"))
        log.addHandler(handler)
