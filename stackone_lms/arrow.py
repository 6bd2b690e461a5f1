"""Records as Apache Arrow tables, and through them as data frames; extra `arrow`."""

from .export.records.arrow import to_arrow

__all__ = ["to_arrow"]
