"""The table of operations: one line of code each, which can be run."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stackone_lms import SyncClient
from stackone_lms.api.operations import operations
from stackone_lms.calls.lists import SyncPager
from stackone_lms.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs/reference/operations.md"
ROW = re.compile(r"^\| `(?P<id>lms_\w+)`(?P<removed> †)? \| `(?P<code>[^`]+)` \|$", re.MULTILINE)
ROWS = [(m["id"], bool(m["removed"]), m["code"]) for m in ROW.finditer(PAGE.read_text("utf-8"))]

RESOURCES = {
    "assignment": "assignments",
    "category": "categories",
    "completion": "completions",
    "content": "content",
    "course": "courses",
    "skill": "skills",
    "user": "users",
}


def call_each_line(client: SyncClient, sandbox: Sandbox) -> list[str]:
    """Run the code of every line, check that the server gets its operation, and return the ids of the operations."""
    methods = {o.id: (o.method, re.sub(r"{\w+}", "[^/]+", o.path)) for _, _, o in operations()}
    called: list[str] = []
    for id, removed, code in ROWS:
        names = names_for(id, client, sandbox)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answer = eval(code, names)
            if isinstance(answer, SyncPager):
                answer.first_page()
        assert [w.category for w in caught] == ([DeprecationWarning] if removed else []), code
        last = sandbox.requests[-1]
        assert (last.method, bool(re.fullmatch(methods[id][1], last.path))) == (methods[id][0], True), code
        called.append(id)
    return called


def names_for(id: str, client: SyncClient, sandbox: Sandbox) -> dict[str, Any]:
    """Return what the code of a line refers to, records that really belong together."""
    names: dict[str, Any] = {f"{n}_id": sandbox.ids(r)[0] for n, r in RESOURCES.items()}
    names |= {"client": client, "yesterday": datetime.now(UTC) - timedelta(days=1)}
    names["reference"] = next(iter(client.courses.list())).external_reference
    if id.endswith("user_assignment"):
        record = next(iter(client.assignments.list()))
        names |= {"user_id": record.user_id, "assignment_id": record.id}
    elif id.endswith("user_completion"):
        finished = next(iter(client.completions.list()))
        names |= {"user_id": finished.user_id, "completion_id": finished.id}
    elif id == "lms_update_collection":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            created = client.collections.create(title="Old")
        assert created.data is not None
        names["collection_id"] = created.data.id
    return names
