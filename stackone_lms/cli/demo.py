"""`stackone-lms demo`: the first thing to run; it needs no account and no API key."""

from __future__ import annotations


def command() -> None:
    """Show what the package does: a sandbox of the API starts here, and real calls are made to it. Takes seconds."""
    from .tour import run  # noqa: PLC0415 (all of the package; --help has no use for it)

    run()
