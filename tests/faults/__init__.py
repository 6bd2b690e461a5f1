"""A server on raw sockets that misbehaves on demand, and the catalogue of its faults."""

from __future__ import annotations

from .catalogue import CATALOGUE
from .connection import Connection
from .messages import ITEMS, Request
from .scripts import Fault, Script
from .server import FaultServer
from .stats import Stats

EvilServer = FaultServer
"""The server that redirects point to and that nothing may reach."""

__all__ = [
    "CATALOGUE",
    "ITEMS",
    "Connection",
    "EvilServer",
    "Fault",
    "FaultServer",
    "Request",
    "Script",
    "Stats",
]
