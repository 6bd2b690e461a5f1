"""The models against the API document, compared by machine: nothing here lists a schema by hand."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from functools import cache
from itertools import pairwise
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackone_lms import models
from stackone_lms.models import Answer, Body, DateTime, Model, Page, encode
from stackone_lms.models.bodies import prepare
from stackone_lms.models.values import UnifiedValue

from ..soak import rounds
from .document import (
    ANSWERS,
    BATCHES,
    ERRORS,
    IN_EXAMPLES_ONLY,
    MODELLED,
    PAGES,
    READ,
    SCHEMAS,
    WRITTEN,
    Schema,
    allowed,
    canonical,
    component,
    options,
    properties,
    referred,
    sample,
)
from .platform import API as PLATFORM


def classes(name: str) -> list[Any]:
    found = {c for c in vars(models).values() if isinstance(c, type) and issubclass(c, Model | Body)}
    return [c for c in found if (c.SCHEMA or c.__name__) == name]


def model(name: str) -> Any:
    (only,) = classes(name)
    return only


def answer_type(name: str) -> Any:
    """Return what an operation with this answer decodes to."""
    if name not in PAGES:
        return model(name)
    item = properties(name)["data"]["items"]["$ref"].rpartition("/")[2]
    return cast("Any", Page)[model(item)]


def fields(cls: Any) -> dict[str, Any]:
    """Return the fields of a class by their names in JSON, without the one of bodies that holds undeclared keys."""
    return {f.encode_name: f for f in msgspec.structs.fields(cls) if f.name != "extra"}


def literals(hint: Any) -> set[str]:
    """Return the strings that a type lists."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    if isinstance(hint, type) and issubclass(hint, UnifiedValue):
        return set(hint.known())
    if get_origin(hint) in (Union, UnionType, list):
        return {value for member in get_args(hint) for value in literals(member)}
    return set()


def schemas_in(hint: Any) -> set[str]:
    """Return the names of the schemas whose classes a type holds."""
    if isinstance(hint, type) and issubclass(hint, Model | Body):
        return {hint.SCHEMA or hint.__name__}
    return {name for member in get_args(hint) for name in schemas_in(member)}


@cache
def docstrings(cls: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("stackone_lms"):
            tree = ast.parse(inspect.getsource(sys.modules[base.__module__]))
            body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == base.__name__)
            for field, below in pairwise(body):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    found[ast.unparse(field.target)] = ast.literal_eval(below.value)
    return found


def round_trip(value: Any, kind: Any) -> Any:
    return json.loads(encode(msgspec.json.decode(json.dumps(value).encode(), type=kind)))


def test_every_schema_is_a_model_or_has_a_reason_not_to_be() -> None:
    """The rest are error bodies, pages (`Page[...]`) and batch requests."""
    assert set(MODELLED) | PAGES | BATCHES | ERRORS == SCHEMAS.keys()
    assert not set(MODELLED) & (PAGES | BATCHES | ERRORS)


@pytest.mark.parametrize("name", MODELLED)
def test_a_schema_has_exactly_one_class(name: str) -> None:
    assert len(classes(name)) == 1
    assert issubclass(model(name), Body) == (name in WRITTEN - READ and not issubclass(model(name), UnifiedValue))


def test_every_class_that_names_a_schema_names_one_of_the_document() -> None:
    named = {getattr(value, "SCHEMA", "") for value in vars(models).values()} - {""}
    assert {name.partition(".")[0] for name in named} <= {*MODELLED, *PLATFORM["components"]["schemas"]}


@pytest.mark.parametrize("name", MODELLED)
def test_a_class_has_the_properties_of_its_schema(name: str) -> None:
    """And those keys that the document's own examples use instead."""
    extra = {key for owner, key in IN_EXAMPLES_ONLY if owner == name}
    assert fields(model(name)).keys() == properties(name).keys() | extra


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_has_the_properties_of_its_schema(name: str) -> None:
    assert properties(name).keys() <= fields(Page).keys()


@pytest.mark.parametrize("name", MODELLED)
def test_a_class_requires_what_is_sent_and_little_of_what_is_read(name: str) -> None:
    """A body requires what its schema does; a read answer its `data`; all else nothing."""
    required = {key for key, field in fields(model(name)).items() if field.required}
    schema = set(SCHEMAS[name].get("required", ()))
    if issubclass(model(name), Body):
        assert required == schema
    else:
        assert required == (schema & {"data"} if "raw" in properties(name) else set())


@pytest.mark.parametrize("name", MODELLED)
def test_a_class_lists_the_values_of_its_enums(name: str) -> None:
    for key, schema in properties(name).items():
        # A body takes a real boolean only, where the API would take a string too.
        strings = {"true", "false"} if issubclass(model(name), Body) else set[str]()
        assert literals(fields(model(name))[key].type) == allowed(schema) - strings, key


@pytest.mark.parametrize("name", MODELLED)
def test_a_class_holds_the_classes_and_the_dates_of_its_schema(name: str) -> None:
    for key, schema in properties(name).items():
        field = fields(model(name))[key]
        if field.type is not msgspec.Raw:  # `raw` is decoded when asked for
            assert schemas_in(field.type) == referred(schema), key
        if any(option.get("format") == "date-time" for option in options(schema)):
            assert DateTime in get_args(field.type), key


@pytest.mark.parametrize("name", [*MODELLED, *sorted(PAGES)])
def test_a_field_is_documented_and_says_so_when_deprecated(name: str) -> None:
    cls: Any = Page if name in PAGES else model(name)
    for key, field in fields(cls).items():
        text = docstrings(cls).get(field.name)
        assert text, f"{cls.__name__}.{field.name} has no docstring"
        if key in properties(name):
            deprecated = properties(name)[key].get("deprecated", False)
            assert text.startswith("Deprecated by the API: ") == deprecated, key


@pytest.mark.parametrize("name", MODELLED)
def test_the_examples_survive(name: str) -> None:
    """Those of what is read decode and encode to the same document; those of bodies are sent as they are."""
    example, cls = sample(SCHEMAS[name]), model(name)
    assert example.keys() == properties(name).keys()
    if issubclass(cls, Body):
        back = json.loads(prepare(example, cls))
    else:
        back = round_trip(example, cls)
    assert canonical(back, SCHEMAS[name]) == canonical(example, SCHEMAS[name])


@pytest.mark.rounds
@pytest.mark.parametrize("name", ANSWERS)
@settings(
    max_examples=rounds(300),
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_every_document_that_an_answer_may_be_survives(name: str, data: st.DataObject) -> None:
    document = data.draw(component(name))
    kind = answer_type(name)
    answer: Any = msgspec.json.decode(json.dumps(document).encode(), type=kind)
    assert isinstance(answer, Answer)
    assert canonical(json.loads(encode(answer)), SCHEMAS[name]) == canonical(document, SCHEMAS[name])
    if "raw" in document:
        provider_calls = json.loads(encode(cast("Any", answer).raw))
        part = properties(name)["raw"]
        assert canonical(provider_calls, part) == canonical(document["raw"], part)


DIFFERENT: list[tuple[Schema, Schema]] = [
    ({"x": 1}, {"x": True}),
    ({"x": "1"}, {"x": 1}),
    ({"x": [1]}, {"x": []}),
    ({"x": None}, {}),
    ({"message": "a"}, {}),
    ({"timestamp": "2024-01-31T09:00:00Z"}, {"timestamp": "2024-01-31T09:00:00+01:00"}),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_the_comparison_of_documents_sees_a_difference(one: Schema, other: Schema) -> None:
    schema = SCHEMAS["DeleteResult"]
    assert canonical(one, schema) == canonical(one, schema)
    assert canonical(one, schema) != canonical(other, schema)


def test_the_comparison_of_documents_allows_what_means_the_same() -> None:
    schema = SCHEMAS["DeleteResult"]
    one = {"statusCode": 204, "message": None, "timestamp": "2024-01-31T09:00:00Z"}
    other = {"statusCode": 204.0, "timestamp": "2024-01-31T10:00:00.000+01:00"}
    assert canonical(one, schema) == canonical(other, schema)
