"""Public names that are imported when they are first asked for (PEP 562), so that importing a package costs nothing."""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any


def attributes(
    package: str, names: Iterable[str], homes: tuple[str, ...], submodules: tuple[str, ...] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package.

    Args:
        package: Its name.
        names: Its public names.
        homes: The modules in which they are defined. They are looked through in this order, so that one that imports
            others should stand behind them.
        submodules: Those of the names that are modules themselves.
    """
    public = frozenset(names)

    def find(name: str) -> Any:
        if name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        if name in submodules:
            return import_module(f".{name}", package)
        for home in homes:
            found = vars(import_module(f".{home}", package))
            if name in found:
                vars(sys.modules[package])[name] = found[name]
                return found[name]
        raise AttributeError(f"{name!r} is listed as public in {package!r} and defined nowhere")

    def listing() -> list[str]:
        return sorted(public | vars(sys.modules[package]).keys())

    return find, listing
