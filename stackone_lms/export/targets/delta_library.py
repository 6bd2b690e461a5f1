"""deltalake: imported when it is needed, and what it raises told in words."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from ...checks import import_extra
from ...errors import ExportError, printable

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def import_deltalake() -> Any:
    """Return the module `deltalake`.

    Raises:
        ExportError: It is not installed; the message names the extra.
    """
    return import_extra("deltalake", "exceptions", "transaction", extra="delta")


@contextmanager
def speaking(doing: str) -> Generator[None]:
    """Turn what deltalake raises into an ExportError that tells what was being done."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # noqa: BLE001 (see below)
        # It raises its own, OSError, ValueError and plain Exception, whatever is in the way.
        text = _COLOUR.sub("", " ".join(str(error).split()))
        if code := re.search(r"<Code>(\w{1,60})</Code>", text):
            text = f"the store answered {code[1]}: {text}"
        said = printable(text or type(error).__name__, 300)
        raise ExportError(
            f"{doing} failed: {said}; what is in the table stays: correct that, and the same command continues"
        ) from None
