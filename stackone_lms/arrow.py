"""Records as Apache Arrow tables and streams, and through them as data frames; extra `arrow`."""

from .batches.scan import Scan, scan
from .calls.frames import Errors
from .export.records.arrow import to_arrow

__all__ = ["Errors", "Scan", "scan", "to_arrow"]
