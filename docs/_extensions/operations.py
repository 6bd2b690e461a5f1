"""The reference of resources, rendered from what `help()` shows: the signature and the docstring of each method.

`.. resource:: users.completions` documents the class of a resource and its methods. Fields of Structs get their
defaults, and the description of a field is never read as `type: description`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import msgspec
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature
from sphinx.util.typing import stringify_annotation

from stackone_lms import AsyncClient
from stackone_lms.calls.operation import Method, Resource


class ResourceDirective(SphinxDirective):
    """Documents the resource of a client whose attribute is the argument, dotted where nested."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the description of the class, with one of each method in it."""
        resource: Any = AsyncClient("key", "account")
        for name in self.arguments[0].split("."):
            resource = getattr(resource, name)
        kind = type(resource)
        lines = [
            f".. py:class:: {kind.__name__}",
            f"   :module: {kind.__module__}",
            "",
            *_indented([inspect.getdoc(kind) or "", "", f"``client.{self.arguments[0]}``", ""]),
        ]
        for name, declared in vars(kind).items():
            if isinstance(declared, Method):
                lines += _indented(self._method(resource, name))
        return self.parse_text_to_nodes("\n".join(lines))

    def _method(self, resource: Resource[Any], name: str) -> list[str]:
        method, operation = getattr(resource, name), getattr(type(resource), name).operation
        signature = inspect.signature(method)
        doc = _with_fields(inspect.getdoc(method) or "", operation.body, signature)
        body = str(GoogleDocstring(doc, self.config)).splitlines()
        first = next((n for n, line in enumerate(body) if line.startswith(":")), len(body))
        body[first:first] = [
            f":type {parameter.name}: {_short(stringify_annotation(parameter.annotation))}"
            for parameter in signature.parameters.values()
        ]
        shown = _short(stringify_signature(signature))
        coroutine = "   :async:" if inspect.iscoroutinefunction(method) else ""
        return [f".. py:method:: {name}{shown}", coroutine, "", *_indented(body), ""]


def _with_fields(doc: str, body: type[msgspec.Struct] | None, signature: inspect.Signature) -> str:
    """Describe the keywords that are fields of a body, in the words of the Struct."""
    described = {name: text for name, text in field_docs(body).items() if name in signature.parameters} if body else {}
    if not described or "\nArgs:\n" in doc:
        return doc
    ids = "    id: StackOne's id of the record, or the provider's.\n" if "id" in signature.parameters else ""
    lines = "".join(f"    {name}: {described[name]}\n" for name in signature.parameters if name in described)
    return doc.replace("\nReturns:\n", f"\nArgs:\n{ids}{lines}\nReturns:\n")


def field_docs(struct: type) -> dict[str, str]:
    """Return the descriptions of the fields of a Struct and of its bases, each on one line."""
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base.__module__.startswith("stackone_lms"):
            docs = ModuleAnalyzer.for_module(base.__module__).find_attr_docs()
            found |= {name: " ".join(lines).strip() for (owner, name), lines in docs.items() if owner == base.__name__}
    return found


def _short(shown: str) -> str:
    """Return types without their modules."""
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", shown)


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}" if line else "" for line in lines]


_set_aside: dict[str, list[str]] = {}


def set_aside(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Hide the description of an attribute from napoleon, which would read `X: Y` as a type and a description."""
    if what in {"attribute", "data", "property"}:
        _set_aside[name] = lines.copy()
        lines.clear()


def put_back(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put the description back, with the default of a field of a Struct."""
    if what in {"attribute", "data", "property"}:
        lines[:] = _set_aside.pop(name)
        default = _default(name)
        if default is not None:
            lines += ["", f"Default: ``{default!r}``."]


def _default(name: str) -> object:
    module, *path, attribute = name.split(".")
    owner: Any = importlib.import_module(module)
    for part in path:
        owner = getattr(owner, part, None)
    if not (isinstance(owner, type) and issubclass(owner, msgspec.Struct)):
        return None
    defaults = {field.name: field.default for field in msgspec.structs.fields(owner)}
    default = defaults.get(attribute)
    return None if default in (msgspec.NODEFAULT, msgspec.UNSET) else default


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive, and the handlers around napoleon's, whose priority is 500."""
    app.add_directive("resource", ResourceDirective)
    app.connect("autodoc-process-docstring", set_aside, priority=400)
    app.connect("autodoc-process-docstring", put_back, priority=600)
    return {"parallel_read_safe": True}
