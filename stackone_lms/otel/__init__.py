"""OpenTelemetry: traces and metrics of a client, with the extra `otel` (`pip install "stackone-lms[otel]"`).

    from stackone_lms.otel import OpenTelemetry

    client = AsyncClient(observer=OpenTelemetry())

Under `opentelemetry-instrument` every client has one, without a change of the program.

Spans: `stackone completions.get`, internal, for each call, in it `GET /unified/lms/completions/{id}`, client, for each
request; `stackone completions.get_many` for a bulk fetch, whose requests make none; `stackone export`, in it
`stackone export completions` for each list. The guide has the table of spans, attributes and metrics. They are bounded:
no ids of records, no queries, no headers, no bodies, no messages of errors, and account ids only if asked for.
"""

from __future__ import annotations

try:
    from opentelemetry import metrics as _metrics  # pyright: ignore[reportUnusedImport]  # noqa: F401
except ImportError:
    raise ImportError('stackone_lms.otel needs: pip install "stackone-lms[otel]"') from None

from .attributes import Attempts
from .observer import OpenTelemetry, StackOneInstrumentor

__all__ = ["Attempts", "OpenTelemetry", "StackOneInstrumentor"]
