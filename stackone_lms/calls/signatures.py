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
from typing import Any, TypeVar

C = TypeVar("C", bound=Callable[..., Any])


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
    own = typing.get_type_hints(source, vars(sys.modules[source.__module__]))
    positional = [
        p.replace(annotation=own[p.name])
        for p in inspect.signature(source).parameters.values()
        if p.kind is not p.VAR_KEYWORD
    ]
    query = query_type(source)
    hints = typing.get_type_hints(query) if query else {}
    named = [
        inspect.Parameter(
            *(name, inspect.Parameter.KEYWORD_ONLY),
            annotation=hint if name in _DEFAULTS else hint | None,
            default=_DEFAULTS.get(name),
        )
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


class ShownSignature(inspect.Signature):
    """A signature that help() shows with the names of types alone, without their modules."""

    def _plain(self) -> inspect.Signature:
        parameters = [p.replace(annotation=_ShownType(p.annotation)) for p in self.parameters.values()]
        return inspect.Signature(parameters, return_annotation=_ShownType(self.return_annotation))

    def __str__(self) -> str:
        return str(self._plain())

    if sys.version_info >= (3, 13):

        def format(self, **options: Any) -> str:
            """Return it as text, as help() does."""
            return self._plain().format(**options)


class _ShownType(str):
    __slots__ = ()

    def __new__(cls, hint: Any) -> Any:
        return hint if hint is inspect.Parameter.empty else super().__new__(cls, shown_type(hint))

    __repr__ = str.__str__


def shown_type(hint: Any) -> str:
    """Return a type as docstrings name it, without its modules."""
    return re.sub(r"(?:\w+\.)+(?=\w)", "", hint if isinstance(hint, str) else inspect.formatannotation(hint))


def not_for_users(why: str) -> Callable[[C], C]:
    """Return a decorator of a method of a public class that the package calls, not its users.

    What it takes is left out of what help() and inspect show.

    Args:
        why: What calls it, or gives users such an object.
    """

    def hide(function: C) -> C:
        function.__doc__ = "\n\n".join([*filter(None, [function.__doc__]), f"Not for you to call: {why}."])
        function.__signature__ = inspect.Signature([_SELF])  # type: ignore[attr-defined]
        return function

    return hide


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
    function.__signature__ = ShownSignature([_SELF, *parameters], return_annotation=returns)  # type: ignore[attr-defined]
