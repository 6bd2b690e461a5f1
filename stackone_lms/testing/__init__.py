"""For tests of code that uses this package.

Installed with the package comes a pytest plugin (`stackone_lms.testing.plugin`) with these fixtures:

- `stackone_sandbox`: a running sandbox; `stackone_env` puts it into the environment variables.
- `stackone_client` and `stackone_sync_client`: clients of it.
- `aioresponses_compat`: makes aioresponses work with the aiohttp of today.

Without a server, `InMemoryTransport` answers from a table of the test's own; `SkippingClock` does away with waiting.
"""

from typing import TYPE_CHECKING

from .._lazy import attributes

if TYPE_CHECKING:
    from .clock import SkippingClock
    from .compat import aioresponses_compat
    from .memory import InMemoryTransport, SentRequest, UnexpectedRequestError, answer

__all__ = [
    "InMemoryTransport",
    "SentRequest",
    "SkippingClock",
    "UnexpectedRequestError",
    "aioresponses_compat",
    "answer",
]

if not TYPE_CHECKING:  # pragma: no branch (type checkers would take any name for one that exists)
    __getattr__, __dir__ = attributes(__name__, __all__, homes=("clock", "memory", "compat"))
