"""How requests reach the server."""

from .base import Deadline, Request, Response, Secret, Transport, TransportError

__all__ = ["Deadline", "Request", "Response", "Secret", "Transport", "TransportError"]
