"""Prism, an OpenAPI proxy that is not ours, stands between client and sandbox and finds no violation."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stackone_lms import SyncClient
from stackone_lms.sandbox import Sandbox

from ..docs.table import call_each_line
from .document import DOCUMENT

PRISM = Path(__file__).parent / "prism/node_modules/.bin/prism"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(not PRISM.exists(), reason="Prism is not installed: npm install in tests/contract/prism"),
]


@pytest.fixture
def proxy() -> Iterator[tuple[str, Sandbox, Path]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Sandbox.in_thread() as sandbox:
        command = [str(PRISM), "proxy", "--errors", "-h", "127.0.0.1", "-p", str(port), str(DOCUMENT), sandbox.url]
        environment = {**os.environ, "SCARF_ANALYTICS": "false", "NO_COLOR": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as process:
            try:
                deadline = time.monotonic() + 30
                while time.monotonic() < deadline:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                        break
                    time.sleep(0.1)
                yield f"http://127.0.0.1:{port}", sandbox, DOCUMENT
            finally:
                process.terminate()


def test_no_violation_in_any_operation(proxy: tuple[str, Sandbox, Path]) -> None:
    """Every operation, called as the README shows it: with --errors a violation would be an error answer."""
    url, sandbox, _ = proxy
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=url) as client:
        called = call_each_line(client, sandbox)
    assert len(called) == 28
