"""All faults."""

from __future__ import annotations

from . import bodies, connecting, encodings, heads, kept, pages, redirects, statuses, wire, writes
from .scripts import Fault, ok

CATALOGUE: tuple[Fault, ...] = (
    Fault("ok", "-", "a healthy server", "ok", False, ok),
    *connecting.FAULTS,
    *wire.FAULTS,
    *heads.FAULTS,
    *kept.FAULTS,
    *encodings.FAULTS,
    *bodies.FAULTS,
    *redirects.FAULTS,
    *statuses.FAULTS,
    *pages.FAULTS,
    *writes.FAULTS,
)
