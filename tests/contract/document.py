"""The API document as the contract tests read it: schemas, equality of documents, and generated documents.

`openapi.json` beside this file holds the structure and the examples of the published descriptions of the API, without
their texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any, cast

from hypothesis import strategies as st

Schema = dict[str, Any]

DOCUMENT = Path(__file__).with_name("openapi.json")
API: Schema = json.loads(DOCUMENT.read_bytes())
SCHEMAS: dict[str, Schema] = API["components"]["schemas"]
COMPONENT = "#/components/"


# What the document says


def resolve(node: Schema) -> Schema:
    while "$ref" in node:
        _, part, name = node["$ref"].removeprefix("#/").split("/")
        node = API["components"][part][name]
    return node


def references(node: Any) -> Iterator[str]:
    """Yield the names of the schemas that a part of the document leads to."""
    if isinstance(node, dict):
        for key, value in cast("Schema", node).items():
            if key == "$ref":
                if value.startswith(f"{COMPONENT}schemas/"):
                    yield value.rpartition("/")[2]
                yield from references(resolve({"$ref": value}))
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in cast("list[object]", node):
            yield from references(value)


def json_schemas(node: Schema) -> Iterator[str]:
    """Yield the names of the schemas of a request's or an answer's body."""
    for media in resolve(node).get("content", {}).values():
        yield media["schema"]["$ref"].rpartition("/")[2]


OPERATIONS: list[Schema] = [
    operation
    for path in API["paths"].values()
    for method, operation in path.items()
    if method in {"get", "put", "post", "patch", "delete"}
]
ANSWERS = sorted(
    {
        name
        for operation in OPERATIONS
        for status, answer in operation["responses"].items()
        if status.startswith("2")
        for name in json_schemas(answer)
    }
)
REQUESTS = {name for operation in OPERATIONS for name in json_schemas(operation.get("requestBody", {}))}
ERRORS = {
    name
    for operation in OPERATIONS
    for status, answer in operation["responses"].items()
    if not status.startswith("2")
    for name in references(answer)
}
PAGES = {n for n in ANSWERS if SCHEMAS[n]["properties"].get("data", {}).get("type") == "array"}
BATCHES = {n for n in REQUESTS if SCHEMAS[n]["properties"].keys() == {"items"}}
READ = {*ANSWERS, *references([SCHEMAS[n] for n in ANSWERS])} - PAGES
WRITTEN = {*REQUESTS, *references([SCHEMAS[n] for n in REQUESTS])} - BATCHES
MODELLED = sorted(READ | WRITTEN)


def properties(name: str) -> dict[str, Schema]:
    return cast("dict[str, Schema]", SCHEMAS[name].get("properties", {}))


def options(schema: Schema) -> list[Schema]:
    """Return the alternatives of a schema, each of one type."""
    schema = resolve(schema)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return [option for member in schema[keyword] for option in options(member)]
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        return [schema]
    return [{**schema, "type": kind} for kind in cast("list[str]", kinds)]


def allowed(schema: Schema) -> set[str]:
    """Return the strings that an enum, a list of enums or a unified value may be."""
    found: set[str] = set()
    for option in options(schema):
        found |= {value for value in option.get("enum", ()) if value is not None}
        if option.get("type") == "array":
            found |= allowed(option["items"])
        if option.get("properties", {}).keys() == {"value", "source_value"}:
            found |= allowed(option["properties"]["value"])
    return found


def referred(schema: Schema) -> set[str]:
    """Return the names of the schemas that a property holds, not those within them."""
    if "$ref" in schema:
        return {schema["$ref"].rpartition("/")[2]}
    members = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else [])]
    return {name for member in members for name in referred(member)}


def undeclared(value: Any, schema: Schema, name: str) -> Iterator[tuple[str, str]]:
    """Yield the keys that an example has and its schema lacks, each with the schema's name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        schema = resolve(schema)
    for option in schema.get("anyOf", ()):
        yield from undeclared(value, option, name)
    if isinstance(value, list) and "items" in schema:
        for item in cast("list[object]", value):
            yield from undeclared(item, schema["items"], name)
    elif isinstance(value, dict) and "properties" in schema:
        for key, item in cast("Schema", value).items():
            if key in schema["properties"]:
                yield from undeclared(item, schema["properties"][key], name)
            else:
                yield name, key


IN_EXAMPLES_ONLY = {
    found
    for name in MODELLED
    for schema in properties(name).values()
    if "example" in schema
    for found in undeclared(schema["example"], schema, name)
}


# Equality of documents


JSON_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
}


def canonical(value: Any, schema: Schema) -> Any:
    """Return `value` so that documents that mean the same are equal.

    A declared key that is null equals one that is missing, date-times are instants, and numbers are equal by
    value (but not to booleans, as Python has it).
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return "number", value
    kind = JSON_TYPES.get(value.__class__, "object")
    schema = next((o for o in options(schema) if o.get("type") == kind), Schema())
    if isinstance(value, str) and schema.get("format") == "date-time":
        return datetime.fromisoformat(value.upper())
    if isinstance(value, list):
        return [canonical(item, schema.get("items", {})) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        declared = schema.get("properties", {})
        items = cast("Schema", value).items()
        return {k: canonical(v, declared.get(k, {})) for k, v in items if v is not None or k not in declared}
    return value


def sample(schema: Schema) -> Any:
    """Return the example of a schema, made of those of its parts, or else the first value that fits."""
    if "example" in schema:
        return schema["example"]
    schema = resolve(schema)
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return sample(schema[keyword][0])
    if "enum" in schema:
        return schema["enum"][0]
    if "items" in schema:
        return [sample(schema["items"])]
    if "properties" in schema:
        return {key: sample(part) for key, part in schema["properties"].items()}
    return "text"


# Generated documents


def rfc3339(moment: datetime, offset: int, digits: str) -> str:
    zone = timezone(timedelta(minutes=offset))
    return moment.astimezone(zone).isoformat(timespec=digits).replace("+00:00", "Z")


# Years 1 to 9999 as the datetime type has them: RFC 3339's year 0000 and its leap second 23:59:60 have no
# datetime at all. Six digits of a second: a datetime holds microseconds, and the seventh digit is rounded.
# A day from both ends, for the offset to fit in.
moments = st.builds(
    rfc3339,
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(-1439, 1439) | st.just(0),
    st.sampled_from(["milliseconds", "microseconds"]),
)
# JSON numbers are doubles to most readers (RFC 8259, 6), and so are the API's `number`s here.
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
texts = st.text(max_size=8)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | texts | numbers | st.integers(-(2**80), 2**80),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)


@cache
def component(name: str) -> st.SearchStrategy[Any]:
    return documents(SCHEMAS[name])


def documents(schema: Schema) -> st.SearchStrategy[Any]:
    """Return a strategy for the documents that a schema allows."""
    if "$ref" in schema:
        return component(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = options(schema)
    if len(kinds) > 1:
        members = schema.get("anyOf") or schema.get("oneOf") or kinds
        return st.one_of([documents(member) for member in members])
    schema = kinds[0]
    match schema.get("type"):
        case None:
            return anything
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "number":
            return numbers
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "string":
            return moments if schema.get("format") == "date-time" else texts
        case "array":
            return st.lists(documents(schema["items"]), max_size=2)
        case "object" if "properties" in schema:
            parts = {key: documents(part) for key, part in schema["properties"].items()}
            required = {key: parts.pop(key) for key in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=parts)
        case "object":
            return st.dictionaries(texts, anything, max_size=2)
        case other:
            raise AssertionError(f"no strategy for {other}")
