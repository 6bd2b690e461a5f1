"""How requests reach the server."""

from .base import Request, Response, Secret, TimeLimits, Transport, TransportError

__all__ = ["Request", "Response", "Secret", "TimeLimits", "Transport", "TransportError"]
