"""What something costs, on any machine: the functions that are called for it."""

from __future__ import annotations

import gc
import sys
from typing import Any, Self


class FunctionCalls:
    """Counts the functions that are called within its block, of Python and of C."""

    count = 0

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        gc.disable()  # what other tests left would be finalized here, and counted
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)
        gc.enable()

    def _note(self, _frame: Any, event: str, _argument: Any) -> None:
        self.count += event in {"call", "c_call"}
