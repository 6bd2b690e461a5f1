"""Fuzz the reading of answers with coverage guidance. Run by hand; not part of the test suite.

Needs `pip install atheris` (Linux, Python 3.11 to 3.13). From the root of the repository:

    python -m tests.fuzz.atheris_decode -max_total_time=600 corpus/

The corpus folder, which must exist, collects inputs that reach new code. A finding is written to `crash-...` in the
working folder; pass that file instead of the folder to reproduce it. Everything runs in one process: a crash of the
interpreter itself is a finding, too. With `STACKONE_LMS_SMALL_STACK=1` it runs in a thread with 256 KiB of stack.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Any

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["stackone_lms"]):
    from stackone_lms.calls.operation import Operation
    from tests.fuzz import targets


def one_input(data: bytes) -> None:
    """Read an input: the first bytes choose what is checked."""
    provider: Any = atheris.FuzzedDataProvider(data)
    kind = provider.ConsumeIntInRange(0, 4)
    if kind == 0:
        targets.check_id(provider.ConsumeUnicode(64))
    elif kind == 1:
        targets.check_retry_after(provider.ConsumeUnicode(64), provider.ConsumeUnicode(64))
    elif kind == 2:
        targets.check_query({provider.ConsumeUnicode(20): {provider.ConsumeUnicode(20): provider.ConsumeUnicode(40)}})
    else:
        operation: Operation[Any] = targets.OPERATIONS[int(provider.ConsumeIntInRange(0, len(targets.OPERATIONS) - 1))]
        status = provider.PickValueInList([200, 200, 200, 201, 204, 302, 400, 401, 429, 500, 503])
        keep = provider.ConsumeBool()
        body = provider.ConsumeBytes(sys.maxsize)
        if kind == 4:
            good = targets.good_answer(operation)
            body = good[: len(good) // 2] + body + good[len(good) // 2 :]
        targets.check_answer(operation, status, {}, body, keep_unknown=keep)


def main() -> None:
    """Fuzz until a finding or the end of the time."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    if os.environ.get("STACKONE_LMS_SMALL_STACK"):
        threading.stack_size(256 * 1024)
        thread = threading.Thread(target=main)
        thread.start()
        thread.join()
    else:
        main()
