"""What help() and inspect show of an operation's method, taken from a plain function with the same parameters.

Such a function is called a signature source here: it has parameters and a docstring, and is never called.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import typing
from collections.abc import Callable
from typing import Any


def place_of(resource: type) -> str:
    """Return where a resource is found on a client, such as `completions` or `users.completions`."""
    named_after = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", resource.__name__).lower()
    return str(vars(resource).get("_place", named_after))


@functools.cache
def query_type(source: Callable[..., Any]) -> type | None:
    """Return the TypedDict in the `**query: Unpack[...]` of a signature source, None if it has none."""
    for name, parameter in inspect.signature(source).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            unpacked = typing.get_type_hints(source, vars(sys.modules[source.__module__]))[name]
            return typing.get_args(unpacked)[0]  # type: ignore[no-any-return]
    return None


_DEFAULTS = {"raw": False, "prefetch": 0}
"""What a keyword that is left out means; of the others it is None."""


def parameters_of(source: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a signature source, its `**query` spelled out as keyword-only ones."""
    positional = [p for p in inspect.signature(source).parameters.values() if p.kind is not p.VAR_KEYWORD]
    query = query_type(source)
    hints = typing.get_type_hints(query) if query else {}
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=_DEFAULTS.get(name))
        for name, hint in hints.items()
    ]
    return [*positional, *named]


def docstring(text: str, owner: type, *, about: str, returns: str) -> str:
    """Complete the docstring of a signature source.

    Args:
        text: The docstring: summary, paragraphs, `Args:`, `Raises:`.
        owner: The resource class, after which the records in the summary are called.
        about: A paragraph that goes before the arguments, or "".
        returns: What the section `Returns:` says.
    """
    records = place_of(owner).rpartition(".")[2]
    record = f"{records[:-3]}y" if records.endswith("ies") else records.removesuffix("s")
    summary, _, rest = text.partition("\n")
    summary = summary.replace("records", records).replace("record", record)
    body, raises, errors = rest.partition("\nRaises:\n")
    paragraphs, args, arguments = body.partition("\nArgs:\n")
    parts = [summary, paragraphs.strip(), about, f"Args:\n{arguments.rstrip()}" if args else ""]
    parts += [f"Returns:\n    {returns}", f"Raises:\n{errors.rstrip()}" if raises else ""]
    return "\n\n".join(filter(None, parts))


_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


def describe(
    function: Callable[..., Any], owner: type, name: str, doc: str, parameters: list[inspect.Parameter], returns: Any
) -> None:
    """Give the function behind a method the name, signature and docstring that help() and inspect show.

    Args:
        function: The function; bound methods of it show the same.
        owner: The class that the method is found on.
        name: Its name there.
        doc: Its docstring.
        parameters: Its parameters, without `self`.
        returns: What it returns.
    """
    function.__name__, function.__qualname__, function.__module__ = name, f"{place_of(owner)}.{name}", owner.__module__
    function.__doc__ = doc
    function.__signature__ = inspect.Signature([_SELF, *parameters], return_annotation=returns)  # type: ignore[attr-defined]
