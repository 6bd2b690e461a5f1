"""The built reference has all of every operation, and reads no sentence as a type."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stackone_lms import AsyncClient
from stackone_lms.api.operations import Declared, operations
from stackone_lms.calls.query import filters
from stackone_lms.options import Timeout

ROOT = Path(__file__).parents[2]


def build(pages: list[Path], folder: Path) -> dict[str, ET.Element]:
    """Build pages of the documentation and return their trees by name."""
    source = folder / "source"
    source.mkdir()
    for page in pages:
        (source / page.name).write_text(page.read_text("utf-8"), "utf-8")
    listed = "\n".join(page.stem for page in pages)
    (source / "index.md").write_text(f"# Pages\n\n```{{toctree}}\n{listed}\n```\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "xml", "-c", str(ROOT / "docs")]
    command += ["-D", "html_static_path=", str(source), str(folder / "built")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    return {page.stem: ET.parse(folder / "built" / f"{page.stem}.xml").getroot() for page in pages}


def described(tree: ET.Element) -> Iterator[tuple[str, ET.Element]]:
    """Yield what is documented, by its full name."""
    for desc in tree.iter("desc"):
        for signature in desc.iterfind("desc_signature"):
            yield f"{signature.get('module')}.{signature.get('fullname')}", desc


def text_of(element: ET.Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def fields(desc: ET.Element) -> dict[str, ET.Element]:
    found = desc.find("desc_content/field_list")
    assert found is not None
    return {text_of(field.find("field_name")): field for field in found.iterfind("field")}


def names_in(field: ET.Element) -> dict[str, str]:
    """Return the described names of a field and what is said of each."""
    entries = list(field.iter("list_item")) or list(field.iterfind("field_body"))
    return dict(text_of(entry).split(" \N{EN DASH} ", 1) for entry in entries)


def resource_of(declared: Declared) -> Any:
    return attrgetter(declared.resource)(AsyncClient("key", "account"))


def method_of(declared: Declared) -> Any:
    return getattr(resource_of(declared), declared.verb)


def test_help_describes_every_parameter_of_every_operation() -> None:
    """What the reference is rendered from: a line for each parameter, what is returned and raised, the HTTP line."""
    for declared in operations():
        method, operation = method_of(declared), declared.operation
        doc = inspect.getdoc(method) or ""
        if operation.body is None or declared.verb == "batch_upsert":
            for name in inspect.signature(method).parameters:
                assert len(re.findall(rf"^    {name}: \w|^    {name}: `|^    {name}: 1", doc, re.MULTILINE)) == 1, (
                    name,
                    doc,
                )
        for part in (
            "\nReturns:\n    ",
            "\nRaises:\n    InvalidArgumentError: ",
            f"\nAPI: {operation.method} {operation.path} ",
        ):
            assert part in doc, doc
        assert (f"Removed from the API in version {operation.removed};" in doc) is (operation.removed is not None)


@pytest.mark.thorough
def test_every_operation_has_all_of_its_reference(tmp_path: Path) -> None:
    """Signature, parameters with a description each, filters, returns, raises, HTTP line, removed since."""
    tree = build([ROOT / "docs/reference/resources.md"], tmp_path)["resources"]
    found = dict(described(tree))
    for declared in operations():
        method, operation = method_of(declared), declared.operation
        desc = found[f"stackone_lms.api.resources.{type(resource_of(declared)).__name__}.{declared.verb}"]
        signature = inspect.signature(method)
        parts = fields(desc)
        parameters = {re.sub(r" \(.*\)$", "", name): said for name, said in names_in(parts["Parameters"]).items()}
        assert parameters.keys() == signature.parameters.keys(), operation.id
        assert all(parameters.values()), operation.id
        if operation.query is not None:
            assert parameters.keys() >= filters(operation.query)
        shown = [text_of(one) for one in desc.iterfind("desc_signature//desc_parameter")]
        assert [one.partition(":")[0] for one in shown if ":" in one] == list(signature.parameters), operation.id
        for parameter, text in zip(signature.parameters.values(), (one for one in shown if ":" in one), strict=True):
            assert parameter.default is parameter.empty or text.endswith(f" = {parameter.default!r}"), text
        assert text_of(desc.find("desc_signature//desc_returns")), operation.id
        assert (desc.find("desc_signature/desc_annotation") is not None) is inspect.iscoroutinefunction(method)
        assert text_of(parts["Returns"].find("field_body")), operation.id
        assert {"InvalidArgumentError", "StackOneError"} <= names_in(parts["Raises"]).keys()
        whole = text_of(desc.find("desc_content"))
        assert f"API: {operation.method} {operation.path} ({operation.id})" in whole
        assert ("Removed from the API in version" in whole) is (operation.removed is not None)
        assert operation.removed is None or f"in version {operation.removed};" in whole
    assert len(operations()) == 28
    check_types(tree)


def check_types(tree: ET.Element) -> None:
    for name, desc in described(tree):
        for field in desc.iterfind("desc_content/field_list/field"):
            if text_of(field.find("field_name")) == "Type":
                said = text_of(field.find("field_body"))
                assert not re.search(r"\w,? \w+ \w|[.;] ?\w* \w", said), (name, said)


@pytest.mark.thorough
def test_no_sentence_is_read_as_a_type_and_defaults_are_shown(tmp_path: Path) -> None:
    """An attribute that says `never: so` keeps its words in order; a field of options has its default."""
    pages = sorted((ROOT / "docs/reference").glob("*.md"))
    trees = build([page for page in pages if page.stem != "command-line"], tmp_path)
    for tree in trees.values():
        check_types(tree)
    clients = dict(described(trees["clients"]))
    said = text_of(clients["stackone_lms.RetryPolicy.attempts"].find("desc_content"))
    assert said == "Requests for one call at most, the first included. 1: never retry. Default: 3."
    for name in Timeout.__struct_fields__:
        said = text_of(clients[f"stackone_lms.Timeout.{name}"].find("desc_content"))
        assert said.endswith(f"Default: {getattr(Timeout(), name)!r}."), said
