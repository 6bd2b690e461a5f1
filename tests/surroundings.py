"""What the tests leave aside of the environment of whoever runs them."""

from __future__ import annotations

import os

GIVEN = dict(os.environ)
"""The environment as it was: for what fetches from a network, by a proxy perhaps."""

_OF_THE_TESTS = frozenset({"STACKONE_SOAK", "STACKONE_LMS_TEST_LOOP"})
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_OTHERS = frozenset(
    {
        *(name for proxy in _PROXIES for name in (proxy, proxy.lower())),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"),
    }
)


def _changes_the_package(name: str) -> bool:
    return (name.startswith("STACKONE_") and name not in _OF_THE_TESTS) or name in _OTHERS


def looked_at() -> dict[str, str]:
    """Return what there is in the environment now that changes how the package behaves."""
    names = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HOME", "PATH", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if _changes_the_package(name) or name in names}


def leave_aside() -> None:
    """Take out of the environment what would change how the package behaves, for child processes too."""
    for name in list(os.environ):
        if _changes_the_package(name):
            del os.environ[name]
    # Nobody's own profiles and caches: what is below a device is not there.
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        os.environ[name] = os.devnull
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
