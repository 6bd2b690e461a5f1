"""The sandbox is driven by schemathesis: whatever it is asked, it answers as the API document says."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from stackone_lms.sandbox import Sandbox

from .document import API

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def amended() -> dict[str, object]:
    """Return the document with the errors that its guides name and its oldest operations leave out."""
    document = copy.deepcopy(API)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            answers = operation["responses"]
            # The oldest operations declare no errors of their own; the error guide has them for all.
            for code, answer in document["paths"]["/unified/lms/users"]["get"]["responses"].items():
                if code >= "400":
                    answers.setdefault(code, answer)
            assert path
    return document


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_answers_conform(tmp_path: Path) -> None:
    """Examples of the document and systematic variations of every parameter and body; thousands of cases."""
    document = tmp_path / "document.json"
    document.write_text(json.dumps(amended()))
    with Sandbox.in_thread() as sandbox:
        key = base64.b64encode(f"{sandbox.api_key}:".encode()).decode()
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", sandbox.url),
            *("-H", f"x-account-id: {sandbox.account_ids[0]}", "-H", f"Authorization: Basic {key}"),
            *("--phases", "examples,coverage", "--mode", "positive", "--checks", CHECKS, "--no-color", "--seed", "1"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Tested: 28" in done.stdout
