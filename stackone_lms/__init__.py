"""Client of the StackOne Unified LMS API: `AsyncClient`, and `SyncClient` for code without asyncio."""

from ._version import __version__
from .client import AsyncClient
from .errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    StackOneError,
)
from .options import RateLimit, RetryPolicy, Timeout
from .sync import SyncClient

__all__ = [
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "RateLimit",
    "RetryPolicy",
    "StackOneError",
    "SyncClient",
    "Timeout",
    "__version__",
]
