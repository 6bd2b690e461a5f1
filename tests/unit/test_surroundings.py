"""The tests are the same whatever stands in the environment of whoever runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.surroundings import GIVEN

ROOT = Path(__file__).parents[2]
OTHERS = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")


def test_no_variable_of_the_developer_reaches_a_test() -> None:
    """None of those that the package reads, and none of what the libraries below it do."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "stackone_lms").rglob("*.py"))
    names = {*re.findall(r"\bSTACKONE_[A-Z_]+[A-Z]\b", sources), *OTHERS}
    assert {"STACKONE_API_KEY", "STACKONE_ACCOUNT_ID", "STACKONE_TIMEOUT", "STACKONE_LOG"} <= names
    assert names.isdisjoint(os.environ)
    nonsense = dict.fromkeys(names, "no sense")
    done = subprocess.run(
        [sys.executable, "-c", "import os, tests.conftest; print(*os.environ)"],
        cwd=ROOT,
        env={**GIVEN, **nonsense},
        capture_output=True,
        text=True,
        check=True,
    )
    assert names.isdisjoint(done.stdout.split())
