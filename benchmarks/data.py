"""The answers that the static server gives: one completion of 1.2 KB, and a page of a hundred."""

from __future__ import annotations

import json
from typing import Any

ID = "c28xIQaWQ6MQ"
PATH = f"/unified/lms/completions/{ID}"
LIST = "/unified/lms/completions"
QUERY = {"raw": "true", "fields": "id,result,score", "proxy[include]": "x"}
KEY, ACCOUNT = "v1.eu1.benchmark", "45072196112816593343"


def completion(id: str = ID) -> dict[str, Any]:
    """Return one completion, with every field that providers usually fill."""
    return {
        "id": id,
        "remote_id": "8187e5da-dc77-475e-9949-af0f1fa4e4e3",
        "unified_custom_fields": {"cost_centre": "REF-1236", "site": "Plovdiv"},
        "learning_object_external_reference": "course-forklift-basics",
        "result": {"value": "Pass", "source_value": "PASSED"},
        "completed_at": "2024-03-21T14:00:00.000Z",
        "created_at": "2024-03-20T09:30:12.250Z",
        "updated_at": "2024-03-21T14:00:03.900Z",
        "learning_object_type": {"value": "course", "source_value": "CURRICULUM"},
        "learning_object_id": "c28xIQaWQ6Y291cnNlLTE",
        "remote_learning_object_id": "e3cb55bf-aa84-466e-a6c1-b8302b257a49",
        "user_id": "c28xIQaWQ6dXNlci0x",
        "remote_user_id": "e3cb75bf-aa84-466e-a6c1-b8322b257a48",
        "time_spent": "PT1H30M45S",
        "certificate_url": "https://example.com/certificates/12345",
        "content_id": "16873-ENG-VIDEO-1",
        "remote_content_id": "e3cb75bf-aa84-466e-a6c1-b8322b257a48",
        "course_id": "16873-ENG-COURSE-1",
        "remote_course_id": "e3cb75bf-aa84-466e-a6c1-b8322b257a48",
        "score": {"percentage": 87.5, "raw_value": "87.5 / 100"},
    }


RAW: list[dict[str, Any]] = [
    {"method": "GET", "url": "https://provider.example/v2/records/12345?include=x", "body": None, "response": {}}
]


def one() -> bytes:
    """Return the answer to a get."""
    return json.dumps({"data": completion(), "raw": RAW}).encode()


def page(next: str | None = None, size: int = 100) -> bytes:
    """Return the answer to a list."""
    items = [completion(f"c28xIQaWQ6{number:06d}") for number in range(size)]
    return json.dumps({"next": next, "data": items, "raw": None}).encode()
