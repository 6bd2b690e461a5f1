"""What is said of a value that an option cannot have: what was given, and what is allowed, in one sentence."""

from __future__ import annotations

from typing import Any

_WHOLE = ("int_parsing", "int_type", "int_from_float", "int_parsing_size")
_NUMBERS = ("float_parsing", "float_type", "finite_number")


def explained(error: Any) -> str:
    """Return the message of an error about the command line.

    Args:
        error: An exception of typer's with a `format_message`. Of a value that typer could not read, the reason is its
            `__cause__`, in the words of pydantic, which are about Python and not about the command line.
    """
    told: str = error.format_message()
    reasons = getattr(error.__cause__, "errors", None)
    param = getattr(error, "param", None)
    if reasons is None or param is None:
        return told.removesuffix(".")
    return f"Invalid value for {max(param.opts, key=len)}: {_sentence(reasons()[0], param)}"


def _sentence(reason: Any, param: Any) -> str:
    descriptor, given = param.type_descriptor, f"{reason['input']!r:.60}"
    if descriptor.is_datetime:
        return f"{given} is not a day such as 2026-01-31"
    kind = reason["type"]
    if kind in _WHOLE or kind in _NUMBERS or param.min is not None or param.max is not None:
        whole = descriptor.annotation is int or kind in _WHOLE
        return f"{given} is not a {'whole ' if whole else ''}number{_range(param.min, param.max)}"
    if descriptor.choices is not None:
        return f"{given} is not one of {', '.join(str(choice) for choice in descriptor.choices)}"
    return str(reason["msg"]).removeprefix("Value error, ").removesuffix(".")


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return "" if most is None else f" of at most {most:g}"
    return f" of at least {least:g}" if most is None else f" from {least:g} to {most:g}"
