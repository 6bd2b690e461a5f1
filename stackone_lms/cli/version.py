"""`stackone-lms --version`: what is installed, for a report of a problem. Nothing of it is secret."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from .. import __version__

_PACKAGES = (
    *("aiohttp", "msgspec", "anyio", "typer", "rich", "pyarrow", "pandas", "polars", "duckdb", "deltalake", "dlt"),
    *("redis", "pyrate-limiter", "opentelemetry-api", "truststore", "uvloop"),
)


def environment() -> str:
    """Return the version of the package, of Python and the system, and of the packages that it uses, a line each."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return "\n".join(
        (
            f"stackone-lms {__version__}",
            f"{python} on {platform.platform(aliased=True)}",
            f"at {sys.executable}",
            ", ".join(_installed()),
        )
    )


def _installed() -> Iterator[str]:
    for name in _PACKAGES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
