"""The forms of files by name."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Format
from .csv import Csv
from .jsonl import JsonLines
from .parquet import Parquet


def formats() -> Mapping[str, Format]:
    """Return the forms of files by name."""
    return {format.name: format for format in (Parquet(), JsonLines(), Csv())}
