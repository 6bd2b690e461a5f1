"""`stackone-lms demo`: the first thing to run; it needs no account and no API key."""

from __future__ import annotations


def command() -> None:
    """Show what the package does: start a local sandbox of the API and make real calls to it. Takes seconds."""
    from .tour import run  # noqa: PLC0415 (all of the package; --help has no use for it)

    run()
