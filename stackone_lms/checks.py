"""Checks that many functions share: of whole numbers, keywords, functions, and of what is installed."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable, Mapping
from importlib import import_module
from typing import Any

from .errors import ConfigurationError, ExportError, InvalidArgumentError

_PACKAGE = __name__.partition(".")[0]


def whole_number(
    name: str,
    value: Any,
    *,
    at_least: int,
    error: type[ConfigurationError | InvalidArgumentError] = InvalidArgumentError,
) -> int:
    """Return `value` if it is a whole number, `at_least` or more; True and False are none.

    Raises:
        InvalidArgumentError: It is not; or the error given.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise error(f"{name} must be a whole number, {at_least} or more, not {value!r:.60}")
    return value


def known_keywords(
    function: str, given: Iterable[str], allowed: Collection[str], *, elsewhere: Mapping[str, str] | None = None
) -> None:
    """Raise the TypeError of a plain function for a keyword that is not one of `allowed`.

    Args:
        function: Its name, for the message.
        given: The keywords of the call.
        allowed: Those that it takes.
        elsewhere: Of keywords that have their place elsewhere, what to write instead.
    """
    unknown = min(set(given).difference(allowed), default=None)
    if unknown is not None:
        instead = (elsewhere or {}).get(unknown)
        known = ", ".join(sorted(allowed)) or "none"
        raise TypeError(
            f"{function}() got an unexpected keyword argument {unknown!r}; "
            + (f"write {instead}" if instead else f"allowed: {known}")
        )


def check_function(name: str, value: object, wanted: str, arguments: int) -> None:
    """Refuse what cannot be called with so many arguments.

    Args:
        name: The keyword that it was given as.
        value: What was given.
        wanted: What it must be, for the message.
        arguments: With how many it is called.

    Raises:
        ConfigurationError: It is no function, a generator function, or takes other arguments.
    """
    if not callable(value):
        raise ConfigurationError(f"{name} must be {wanted}, not {type(value).__name__}")
    if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
        raise ConfigurationError(f"{name} must be {wanted}, not a generator function")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # of some functions written in C nothing is known
        return
    try:
        signature.bind(*[None] * arguments)
    except TypeError as problem:
        raise ConfigurationError(f"{name} must be {wanted}: {problem}") from None


def import_extra(
    module: str,
    *submodules: str,
    extra: str,
    needing: str = "this needs",
    error: type[ConfigurationError | ExportError] = ExportError,
) -> Any:
    """Return a module that an extra of this package brings.

    Args:
        module: Its name.
        submodules: Those of its modules that it has to have imported.
        extra: The extra.
        needing: What needs it, for the message.
        error: What is raised.

    Raises:
        ExportError: It is not installed, or the error given; the message names the extra.
    """
    try:
        for name in submodules:
            import_module(f"{module}.{name}")
        return import_module(module)
    except ImportError:
        raise error(f"{needing} {module}: pip install 'stackone-lms[{extra}]'") from None


def levels_to_the_caller() -> int:
    """Return how far up from the function that asks the first code is that is not this package's own."""
    frame, level = sys._getframe(1), 1  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame, level = frame.f_back, level + 1
    return level
