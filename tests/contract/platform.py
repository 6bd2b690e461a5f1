"""The document of the endpoints beside the LMS operations, and the check of an answer against it.

`platform.json` was written by hand from StackOne's published descriptions: the merged OpenAPI document inside their C#
client, and their TypeScript and Ruby clients. Where those differ, it allows both.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

jsonschema: Any = pytest.importorskip("jsonschema")

DOCUMENT = Path(__file__).with_name("platform.json")
API: Any = json.loads(DOCUMENT.read_bytes())
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in API["paths"].items()
    for method, operation in methods.items()
}

_formats: Any = jsonschema.FormatChecker(formats=())
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(_MOMENT.fullmatch(value) and datetime.fromisoformat(value))


_formats.checks("date-time")(_is_date_time)


def faults(schema: object, value: object) -> list[str]:
    """Return what is wrong with a value."""
    root = {"$ref": "#/schema", "schema": schema, "components": API["components"]}
    validator = jsonschema.Draft202012Validator(root, format_checker=_formats)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def check(name: str, status: int, body: bytes) -> None:
    """Assert that an answer is one that the document declares for the operation."""
    responses = OPERATIONS[name][2]["responses"]
    declared = responses.get(str(status)) or (responses["default"] if status >= 400 else None)
    assert declared is not None, (name, status, body)
    assert faults(declared["content"]["application/json"]["schema"], json.loads(body)) == [], name
