"""Models and bodies as plain data: dicts and JSON, short reprs, pydantic and FastAPI, notebooks."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import fastapi
import jsonschema
import pydantic
import pytest
from rich.console import Console

from stackone_lms.models import (
    Category,
    Completion,
    CompletionResult,
    Content,
    CreateCategory,
    CreateCompletion,
    Page,
    ResultStatus,
    Score,
    UpsertContent,
    WriteContentType,
)
from stackone_lms.models.decode import Decoder

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
RECORD = {
    "id": "c1",
    "result": {"value": "Pass", "source_value": [1]},
    "completed_at": "2024-01-31T12:00:00.000Z",
    "score": {"percentage": 87.5},
}
COMPLETION = Completion(
    id="c1", result=ResultStatus(value="Pass", source_value=[1]), completed_at=NOON, score=Score(percentage=87.5)
)


def test_models_become_dicts_and_json_with_the_names_of_the_api() -> None:
    assert COMPLETION.to_dict() == RECORD
    assert json.dumps(COMPLETION.to_dict()) == json.dumps(RECORD)
    assert json.loads(COMPLETION.to_json()) == RECORD
    answer = Decoder(CompletionResult)(json.dumps({"data": RECORD, "raw": [{"url": "u"}]}).encode())
    assert answer.to_dict() == {"data": RECORD, "raw": [{"url": "u"}]}
    body = UpsertContent(external_reference="a", title=None, duration=timedelta(hours=1), created_at=NOON)
    assert body.to_dict() == {
        "external_reference": "a",
        "title": None,
        "duration": "PT1H",
        "created_at": "2024-01-31T12:00:00.000Z",
    }


def test_dicts_have_what_is_kept() -> None:
    sent = {"data": [{**RECORD, "new": {"a": None}, "user_id": None}], "next": None, "more": 1}
    page = Decoder(Page[Completion])(json.dumps(sent).encode(), keep_unknown=True)
    assert page.to_dict() == sent


def test_reprs_show_what_is_there() -> None:
    assert repr(Completion(id="c1", score=Score(percentage=5.0))) == "Completion(id='c1', score=Score(percentage=5.0))"
    answer = Decoder(CompletionResult)(b'{"data":{"id":"c1"},"raw":[{"url":"u"}]}')
    assert repr(answer) == "CompletionResult(data=Completion(id='c1'))"
    assert repr(UpsertContent(external_reference="a", active=False)) == (
        "UpsertContent(external_reference='a', active=False)"
    )
    kept = Decoder(Completion)(b'{"id":"c1","new":1}', keep_unknown=True)
    assert repr(kept) == "Completion(id='c1', extra={'new': 1})"


def test_the_repr_of_a_page_is_short() -> None:
    page = Page[Completion](data=[Completion(id=str(n)) for n in range(100)], next="n")
    records = ", ".join(f"Completion(id='{n}')" for n in range(3))
    assert repr(page) == f"Page(data=[{records}, and 97 more], next='n')"
    assert repr(Page[Completion](data=[])) == "Page(data=[])"


def test_rich_shows_the_same() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(COMPLETION, UpsertContent(external_reference="a"))
    assert "None" not in out.getvalue()
    assert "UNSET" not in out.getvalue()
    assert "percentage=87.5" in out.getvalue()


def test_a_page_is_a_table_in_notebooks() -> None:
    records = [Completion(id=f"<{n}>", result=ResultStatus(value="Pass")) for n in range(30)]
    page: Any = Page[Completion](data=records)
    html = page._repr_html_()
    assert html.count("<tr>") == 21
    assert "<th>id</th><th>result</th></tr>" in html
    assert "<td>&lt;0&gt;</td><td>Pass</td>" in html
    assert "10 more records" in html
    values: Any = dict.fromkeys(Content.__struct_fields__[:15], "x" * 200)
    wide = Content(**values)
    page = Page[Content](data=[wide])
    html = page._repr_html_()
    assert "and 3 more fields" in html
    assert f"{'x' * 79}…" in html


class Report(pydantic.BaseModel):
    completion: Completion
    others: list[Completion] = []
    page: Page[Completion] | None = None
    body: CreateCompletion | None = None


def test_pydantic_takes_models_and_mappings() -> None:
    report = Report(completion=COMPLETION, others=[RECORD], page={"data": [RECORD]})  # type: ignore[list-item,arg-type]
    assert report.completion is COMPLETION
    assert report.others == [COMPLETION]
    assert report.page is not None
    assert report.page.data == [COMPLETION]
    dumped = {"completion": RECORD, "others": [RECORD], "page": {"data": [RECORD]}, "body": None}
    assert report.model_dump() == dumped
    assert json.loads(report.model_dump_json()) == dumped
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_pydantic_checks_bodies_as_they_are_checked_when_sent() -> None:
    given: Any = {"learning_object_external_reference": "a", "result": "Pass", "completed_at": "2024-01-31T12:00:00Z"}
    body = Report(completion=COMPLETION, body=given).body
    assert body == CreateCompletion(
        learning_object_external_reference="a", result=ResultStatus(value="Pass"), completed_at=NOON
    )
    adapter = pydantic.TypeAdapter(UpsertContent)
    upsert = adapter.validate_python(
        {
            "external_reference": "a",
            "categories": [{"name": "k"}],
            "content_type": "book",
            "active": "true",
            "duration": "PT1H",
        }
    )
    assert upsert == UpsertContent(
        external_reference="a",
        categories=[CreateCategory(name="k")],
        content_type=WriteContentType(value="book"),
        active=True,
        duration="PT1H",
    )


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Completion, {"id": {}}, r"Expected `str \| null`"),
        (Completion, 5, "expected Completion or a mapping, not int"),
        (CreateCompletion, {"learning_object_external_reference": "a", "result": "Passed"}, "is not one of Pass"),
        (CreateCompletion, {}, "is required"),
        (UpsertContent, {"external_reference": "a", "titel": 1}, "is no key of UpsertContent"),
    ],
)
def test_what_does_not_fit_is_a_validation_error(kind: type[Any], value: Any, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        pydantic.TypeAdapter(kind).validate_python(value)


@pytest.mark.thorough
def test_the_json_schema_says_what_is_taken() -> None:
    schema = Report.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = {"completion": RECORD, "page": {"data": [RECORD]}, "body": {"learning_object_external_reference": "a"}}
    jsonschema.validate(valid, schema)
    for bad in ({"completion": {"id": 5}}, {"completion": RECORD, "body": {}}, {"completion": RECORD, "page": {}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
    completion = schema["properties"]["completion"]
    assert completion["title"] == "Completion"
    assert {"format": "date-time", "type": "string"} in completion["properties"]["completed_at"]["anyOf"]


async def _call(app: Any, method: str, path: str, content: Any = None) -> tuple[int, Any]:
    """Send a request to an ASGI application, and return status and JSON of its answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": json.dumps(content).encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


async def test_fastapi_takes_bodies_and_answers_records() -> None:
    app = fastapi.FastAPI()

    @app.put("/content")
    async def put(content: Annotated[UpsertContent, fastapi.Body()]) -> Content:
        assert isinstance(content, UpsertContent)
        assert content.categories == [CreateCategory(name="k")]
        return Content(title=str(content.title), categories=[Category(name="k")], created_at=NOON)

    @app.get("/page", response_model=Page[Completion])
    async def page() -> Any:
        return Page[Completion](data=[COMPLETION])

    body: Any = {"external_reference": "a", "title": "b", "categories": [{"name": "k"}]}
    status, answer = await _call(app, "PUT", "/content", body)
    read = {"title": "b", "categories": [{"name": "k"}], "created_at": "2024-01-31T12:00:00.000Z"}
    assert (status, answer) == (200, read)
    assert await _call(app, "GET", "/page") == (200, {"data": [RECORD]})
    status, refused = await _call(app, "PUT", "/content", {"external_reference": "a", "titel": "b"})
    assert (status, "titel" in str(refused)) == (422, True)
    status, document = await _call(app, "GET", "/openapi.json")
    body = document["paths"]["/content"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["external_reference"]


def test_importing_the_models_imports_no_pydantic() -> None:
    code = "import sys, stackone_lms.models, stackone_lms; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
