"""The declared operations equal those of the API document, compared as sets."""

from __future__ import annotations

import typing
from typing import Any

from stackone_lms.api.operations import operations
from stackone_lms.calls.query import CLIENT
from stackone_lms.models import Model, Page
from stackone_lms.models.base import Model as Base

from .document import API, SCHEMAS, json_schemas, resolve

REPLACED = {"page", "updated_after"}
"""Parameters that the document itself deprecates, for `next` and `filter[updated_after]`."""


def schema_of(model: Any) -> str:
    return str(model.__dict__.get("SCHEMA") or model.__name__)


def described() -> dict[str, tuple[Any, ...]]:
    """Return what the document says of each operation, by its id."""
    found: dict[str, tuple[Any, ...]] = {}
    for path, methods in API["paths"].items():
        for method, operation in methods.items():
            parameters = [resolve(p) for p in operation.get("parameters", [])]
            query = {p["name"] for p in parameters if p["in"] == "query"} - REPLACED
            filters = {key for p in parameters if p["name"] == "filter" for key in p["schema"]["properties"]}
            good = {
                schema
                for code, answer in operation["responses"].items()
                if code < "300"
                for schema in json_schemas(answer)
            }
            body = set(json_schemas(operation["requestBody"])) if "requestBody" in operation else set[str]()
            found[operation["operationId"]] = (
                method.upper(),
                path,
                frozenset(query),
                frozenset(filters),
                frozenset(unwrapped(body, "items")),
                frozenset(unwrapped(good, "data")),
                bool(operation.get("deprecated")),
            )
    return found


def unwrapped(schemas: set[str], key: str) -> set[str]:
    """Return schema names, those of lists and batches replaced by those of their items."""
    items = (SCHEMAS[name]["properties"].get(key, {}).get("items", {}).get("$ref", name) for name in schemas)
    return {ref.rpartition("/")[2] for ref in items}


def declared() -> dict[str, tuple[Any, ...]]:
    """Return the same of the declarations."""
    found: dict[str, tuple[Any, ...]] = {}
    for _, _, operation in operations():
        plain = operation.keywords - CLIENT - operation.filters
        is_page = typing.get_origin(operation.answer) is Page
        answer = typing.get_args(operation.answer)[0] if is_page else operation.answer
        assert issubclass(answer, Model)
        found[operation.id] = (
            operation.method,
            operation.path,
            frozenset(plain),
            frozenset(operation.filters),
            frozenset({schema_of(operation.body)} if operation.body else ()),
            frozenset({schema_of(answer)}),
            operation.removed is not None,
        )
    return found


def test_every_operation_equals_the_document() -> None:
    """Method, path, query keys, filters, body, answer and deprecation agree, for the same set of operations."""
    ours, theirs = declared(), described()
    assert ours.keys() == theirs.keys()
    assert {id: ours[id] for id in ours if ours[id] != theirs[id]} == {}, theirs


def test_removal_dates_are_the_documents() -> None:
    """What left the API names the date that the document names."""
    for _, _, operation in operations():
        if operation.removed:
            said = API["paths"][operation.path][operation.method.lower()]["x-removed"]
            assert operation.removed in said, operation


def test_every_operation_needs_an_account() -> None:
    """The account header is required on all of them, as the client assumes."""
    for methods in API["paths"].values():
        for operation in methods.values():
            headers = [p for p in map(resolve, operation["parameters"]) if p["in"] == "header" and p.get("required")]
            assert [p["name"] for p in headers] == ["x-account-id"]


def test_answers_are_models() -> None:
    """All answers share the base class, and with it the settings of their Structs."""
    assert all(issubclass(typing.get_origin(o.answer) or o.answer, Base) for _, _, o in operations())
