"""Azurite, Microsoft's emulator of Azure Blob Storage, as `make thorough` has it installed where there is npm."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Generator
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROGRAM = Path(__file__).parent / "azurite/node_modules/.bin/azurite-blob"
CONTAINER = "lake"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The one that all emulators have: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite"""
_VERSION = "2021-08-06"


def reason_to_skip() -> str | None:
    """Return why there is no Azurite; None if there is."""
    if shutil.which("node") is None:
        return "Node is not installed"
    if not PROGRAM.exists():
        return "Azurite is not installed: npm install in tests/export/azurite"
    return None


@contextlib.contextmanager
def running(folder: Path) -> Generator[dict[str, Any]]:
    """Run it with an empty container; yields what reaches it.

    Args:
        folder: For what it writes, which is little: it keeps blobs in memory.
    """
    command = [str(PROGRAM), "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--blobPort", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = ""
            for line in process.stdout or ():
                said += line
                if found := re.search(r"listens on (http://127\.0\.0\.1:\d+)", line):
                    break
            else:
                raise AssertionError(said)
            _make_container(found[1])
            yield {"account_name": ACCOUNT, "account_key": KEY, "endpoint": f"{found[1]}/{ACCOUNT}"}
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _make_container(url: str) -> None:
    """Make the container, which obstore cannot."""
    date = formatdate(usegmt=True)
    signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{_VERSION}\n/{ACCOUNT}/{ACCOUNT}/{CONTAINER}"
    digest = hmac.digest(b64decode(KEY), f"{signed}\nrestype:container".encode(), hashlib.sha256)
    headers = {
        "Authorization": f"SharedKey {ACCOUNT}:{b64encode(digest).decode()}",
        "x-ms-date": date,
        "x-ms-version": _VERSION,
        "Content-Length": "0",
    }
    with contextlib.closing(HTTPConnection(urlsplit(url).netloc, timeout=30)) as connection:
        connection.request("PUT", f"/{ACCOUNT}/{CONTAINER}?restype=container", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
