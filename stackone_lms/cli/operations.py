"""`stackone-lms operations`: what the API can do."""

from __future__ import annotations

import msgspec

from .output import Output, Wide, Writer, for_list


def command(output: Output = None, wide: Wide = False) -> None:
    """List all operations, with their command and their name in the API's document.

    `removed` is the date by which an operation left the newest version of the API; accounts on older ones have it.
    """
    from ..api.operations import operations  # noqa: PLC0415 (not needed for --help)

    columns = ["call", "method", "path", "operation", "removed"]
    form = for_list(output)
    writer = Writer(form, columns if form == "csv" else (), wide=wide, first=columns)
    writer.write(
        [
            msgspec.json.encode(
                {
                    "call": f"{known.resource}.{known.verb}",
                    "method": known.operation.method,
                    "path": known.operation.path,
                    "operation": known.operation.id,
                    "removed": known.operation.removed,
                }
            )
            for known in operations()
        ]
    )
    writer.end()
