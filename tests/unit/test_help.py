"""What help() shows of everything that users get hold of: types that they can import, and no generics unexplained."""

from __future__ import annotations

import builtins
import collections.abc
import importlib
import inspect
import pydoc
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stackone_lms import AsyncClient, SyncClient, SyncPager
from stackone_lms.calls.operation import Resource
from stackone_lms.calls.signatures import not_for_users

PACKAGES = ("", "models", "export", "export.report", "batches", "arrow", "testing", "sandbox", "spark", "dlt", "otel")
MODULES = ("errors", "webhooks", "shared_limit", "transport")
"""Public modules whose names without an underscore are all public, where they are defined there."""
OPTIONAL = {"dlt": "dlt", "otel": "opentelemetry", "arrow": "pyarrow", "batches": "pyarrow"}

FOREIGN = (
    {"AbstractBucket", "Rate"}  # pyrate-limiter
    | {"MeterProvider", "TracerProvider", "DltSource"}
    | {"RecordBatch", "RecordBatchReader", "Schema", "Table"}  # pyarrow
    | {"MultiDictProxy", "ClientSession", "SSLContext", "Raw", "UnsetType", "Meta"}
    | {"datetime", "date", "timedelta", "Path", "PathLike", "EllipsisType", "TracebackType", "NoneType", "ssl"}
    | {"AbstractContextManager"}
)
"""What has documentation of its own elsewhere."""
KNOWN = FOREIGN | set(dir(builtins)) | set(vars(typing)["__all__"]) | set(vars(collections.abc)["__all__"])


def public() -> dict[str, Any]:
    """Return everything that is public, by its name with the module that it is imported from."""
    found: dict[str, Any] = {}
    for name in (*PACKAGES, *MODULES):
        if name in OPTIONAL:
            pytest.importorskip(OPTIONAL[name])
        module = importlib.import_module(f"stackone_lms.{name}".rstrip("."))
        own = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
        for one in getattr(module, "__all__", [n for n in own if not n.startswith("_")]):
            found[f"{module.__name__}.{one}"] = getattr(module, one)
    return found


def given_by_clients() -> dict[str, Any]:
    """Return what attributes of clients are, and what they return."""
    client, blocking = AsyncClient("key", "account"), SyncClient("key", "account")
    resources = {
        name: getattr(client, name) for name in dir(client) if isinstance(getattr(client, name, None), Resource)
    }
    resources |= {"users.completions": client.users.completions, "users.assignments": client.users.assignments}
    found: dict[str, Any] = {name: type(resource) for name, resource in resources.items()}
    assert len(found) == 13
    for name, resource in resources.items():
        for verb in dir(resource):
            if not verb.startswith("_") and callable(getattr(resource, verb)):
                found[f"{name}.{verb}"] = getattr(resource, verb)
                one: Any = blocking
                for part in (*name.split("."), verb):
                    one = getattr(one, part)
                found[f"sync {name}.{verb}"] = one
    blocking.close()
    return found


def members(kind: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the methods and properties of ours that help() shows of a class."""
    for name in dir(kind):
        found = inspect.getattr_static(kind, name)
        found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        ours = str(getattr(found, "__module__", "")).startswith("stackone_lms")
        if inspect.isfunction(found) and ours and (not name.startswith("_") or name.startswith("__")):
            yield name, found


def shown(where: str, found: Any) -> Iterator[tuple[str, str]]:
    """Yield where there is an annotation, and its text."""
    if inspect.isclass(found):
        for name, method in members(found):
            yield from shown(f"{where}.{name}", method)
        if issubclass(found, Exception):
            return
    if callable(found):
        try:
            signature = inspect.signature(found)
        except ValueError:
            return  # of a type that is no class, such as an alias
        for parameter in signature.parameters.values():
            yield f"{where}({parameter.name})", _text(parameter.annotation)
        yield f"{where} ->", _text(signature.return_annotation)


def _text(hint: Any) -> str:
    if hint is inspect.Parameter.empty:
        return ""
    text = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    return re.sub(r"(['\"])(?:(?!\1).)*\1", "", text) if "Literal[" in text else text


def explained(found: Any) -> set[str]:
    """Return the variables that the docstring of a class, or of one that it is made of, explains."""
    docs = [kind.__doc__ or "" for kind in (found.__mro__ if inspect.isclass(found) else (found,))]
    return set(re.findall(r"`(\w)` is (?:the|its) type", " ".join(" ".join(docs).split())))


def test_every_type_in_a_signature_is_public_or_explained() -> None:
    """A name in a signature can be imported from a public module, or is a variable that the docstring explains."""
    everything = public() | given_by_clients()
    names = {name.rpartition(".")[2] for name in public()} | {type_.__name__ for type_ in given_types()}
    seen, faults = 0, set[tuple[str, str]]()
    for where, found in everything.items():
        for place, text in shown(where, found):
            for dotted in re.findall(r"(?<![\w=])[~+-]?[A-Za-z_][\w.]*\b(?!=)", text):
                last = dotted.rpartition(".")[2].lstrip("~+-")
                seen += 1
                if last not in names | KNOWN | explained(found):
                    faults.add((last, place))
    assert not faults, sorted(faults)
    assert seen > 2000


def given_types() -> set[type]:
    return {found for found in given_by_clients().values() if inspect.isclass(found)}


def test_no_private_class_is_the_base_of_a_public_one() -> None:
    kinds = {found for found in (public() | given_by_clients()).values() if inspect.isclass(found)}
    private = {
        (kind.__name__, base.__name__)
        for kind in kinds
        for base in kind.__mro__
        if base.__name__.startswith("_") and base.__module__.startswith("stackone_lms")
    }
    assert not private
    assert len(kinds) > 150


def test_what_the_package_makes_has_no_constructor_to_look_at() -> None:
    """Pagers, outcomes and resources come from clients; what they are made of is nobody's business."""
    text = pydoc.plain(pydoc.render_doc(SyncPager))
    assert "__init__(self, /)" in text
    assert "xecutor" not in text
    assert "ListRequest" not in text
    assert "Not for you to call: `list()` of a resource makes pagers." in text


def test_methods_show_types_by_their_names_alone() -> None:
    """As the guide writes them, and without quotes."""
    client = AsyncClient("key", "account")
    text = pydoc.plain(pydoc.render_doc(client.completions.list))
    assert "updated_after: datetime | str | None = None" in text
    assert "-> AsyncPager[Completion]" in text
    bodies = pydoc.plain(pydoc.render_doc(client.users.completions.create))
    assert "content_id: str | None = UNSET" in bodies
    assert "-> CreateResult" in bodies
    for declared in given_by_clients().values():
        if not inspect.isclass(declared):
            assert "stackone_lms." not in str(inspect.signature(declared))
    several = pydoc.plain(pydoc.render_doc(client.completions.get_many))
    assert "ids: Iterable[str] | Path | AsyncIterable[str]" in several
    assert "-> AsyncOutcomes[Outcome[CompletionResult]]" in several


def test_get_many_shows_the_ids_that_its_client_takes() -> None:
    """A blocking client iterates nothing asynchronously, and several accounts take a mapping too."""
    client = AsyncClient("key", "account")
    with SyncClient("key", "account") as blocking:
        shown = [
            str(inspect.signature(resources.users.completions.get_many))
            for resources in (client, blocking, client.for_accounts(["a"]), blocking.for_accounts(["a"]))
        ]
    plain, of_accounts = "Iterable[str] | Path", "Collection[str] | Path"
    assert [text.partition("ids: ")[2].partition(", /")[0] for text in shown] == [
        f"{plain} | AsyncIterable[str]",
        plain,
        f"Mapping[str, {plain} | AsyncIterable[str]] | {of_accounts}",
        f"Mapping[str, {plain}] | {of_accounts}",
    ]


def test_a_docstring_stays_when_a_method_is_not_for_users() -> None:
    @not_for_users("nobody does")
    def method(self: object, hidden: int) -> None:
        """Say so."""

    assert str(inspect.signature(method)) == "(self, /)"
    assert method.__doc__ == "Say so.\n\nNot for you to call: nobody does."
