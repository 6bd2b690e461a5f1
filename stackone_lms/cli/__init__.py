"""The console script `stackone-lms`; it needs the extra `cli`."""

from __future__ import annotations

import sys

_EXTRA = ("typer", "rich")


def main() -> int:
    """Run the program on the arguments of the process.

    Returns:
        The exit code: 0 done, 1 API or network failure, 2 wrong usage, 130 interrupted, 143 terminated.
    """
    try:
        from .app import run  # noqa: PLC0415 (importing the package must not need the extra)

        return run(sys.argv[1:])
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"stackone-lms needs {missing}: pip install 'stackone-lms[cli]'\n")
        return 2
    except KeyboardInterrupt:
        return 130
