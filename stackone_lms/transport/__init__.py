"""How requests reach the server."""

from .base import ExchangeError, Reply, Request, Secret, Transport, Watch

__all__ = ["ExchangeError", "Reply", "Request", "Secret", "Transport", "Watch"]
