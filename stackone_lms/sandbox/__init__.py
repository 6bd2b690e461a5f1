"""A local server that behaves like the StackOne Unified LMS API, for demos, tests and first steps.

It shares no code with the rest of the package: it is a second reading of the API document, so that
the client and the server check each other.
"""

from .faults import Faults
from .limits import Limit
from .recording import Received
from .server import Sandbox, SandboxOptions

__all__ = ["Faults", "Limit", "Received", "Sandbox", "SandboxOptions"]
