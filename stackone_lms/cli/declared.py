"""What is known of an operation, as the command line asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec

    from ..api.operations import Declared


def model_of(declared: Declared) -> type[msgspec.Struct]:
    """Return the type of the records that a read answers."""
    kind: type[msgspec.Struct] = declared.operation.record
    return kind


def narrowing_names(declared: Declared) -> frozenset[str]:
    """Return what `--filter` knows: filters, and those of the list's parameters that narrow it, too."""
    operation = declared.operation
    return operation.filters | (operation.keywords & {"user_id", "remote_user_id"})
