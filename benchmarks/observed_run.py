"""`python -m benchmarks.observed_run`: a short run against the sandbox, and docs/_static/observed-run.svg made of it.

It waits for its quota, for a key that is paused, and before retries. What is drawn is what the SDK of OpenTelemetry has
collected, and nothing else.
"""

from __future__ import annotations

import asyncio
from html import escape
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stackone_lms import AsyncClient, RateLimit, RetryPolicy
from stackone_lms.otel import OpenTelemetry
from stackone_lms.sandbox import Sandbox

PICTURE = Path(__file__).parent.parent / "docs" / "_static" / "observed-run.svg"
CALL, REQUEST, FAILED, WAIT, INK = "#a9b4c4", "#3d6cc9", "#d9534f", "#e39b2f", "#768390"  # for light and dark pages
WIDTH, LABELS, ROW = 760, 300, 19


async def run() -> tuple[list[ReadableSpan], dict[str, float]]:
    """Return the spans of a run in their order, and the seconds that its calls waited, by what for."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = OpenTelemetry(
        tracer_provider=tracers, meter_provider=MeterProvider([reader]), attempts="calls+failed", propagate=True
    )
    async with Sandbox(accounts=2, latency=(0.05, 0.12)) as sandbox:
        first, second = sandbox.account_ids
        others = sandbox.ids("users", second)[:8]  # made here, and not in the middle of the run
        async with AsyncClient(
            sandbox.api_key,
            first,
            base_url=sandbox.url,
            rate_limit=RateLimit(30, per=5.0, burst=2),
            retry=RetryPolicy(base=0.6, cap=0.6),
            observer=observer,
        ) as client:
            with tracers.get_tracer("example").start_as_current_span("night"):
                ids = [user.id or "" async for user in client.users.list(page_size=10, max_items=10)]
                sandbox.fail_next(503)
                await client.users.get(ids[0])
                accounts = client.for_accounts([first, second])
                sandbox.fail_next(429, retry_after=1)
                assert [one async for one in accounts.users.get_many({first: ids[:8], second: others})]
                await client.users.get(ids[1])
    data: Any = reader.get_metrics_data()
    waits = dict[str, float]()
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        if metric.name == "stackone.client.wait.duration":
            for point in metric.data.data_points:
                reason = str(point.attributes["stackone.wait.reason"])
                waits[reason] = waits.get(reason, 0.0) + point.sum
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0), waits


def draw(spans: list[ReadableSpan], waits: dict[str, float]) -> str:
    """Return the picture."""
    begin = min(span.start_time or 0 for span in spans)
    end = max(span.end_time or 0 for span in spans)
    scale = (WIDTH - LABELS - 20) / (end - begin)
    parents = {span.context.span_id: span.parent for span in spans if span.context}

    def depth(span: ReadableSpan) -> int:
        found, parent = 0, span.parent
        while parent is not None:
            found, parent = found + 1, parents.get(parent.span_id)
        return found

    def text(x: float, y: float, words: str, anchor: str = "start") -> str:
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'

    def bar(x: float, y: float, width: float, height: float, colour: str) -> str:
        return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1.5):.1f}" height="{height}" fill="{colour}"/>'

    drawn: list[str] = []
    y = 24
    for span in spans:
        client = span.kind.name == "CLIENT"
        failed = "error.type" in (span.attributes or {})
        x = LABELS + ((span.start_time or 0) - begin) * scale
        status = (span.attributes or {}).get("http.response.status_code")
        drawn.append(text(8 + 14 * depth(span), y + 11, span.name + (f"  {status}" if status else "")))
        width = ((span.end_time or 0) - (span.start_time or 0)) * scale
        drawn.append(bar(x, y + 2, width, 11, FAILED if failed else REQUEST if client else CALL))
        for event in span.events:
            if event.name == "stackone.wait":
                seconds: Any = (event.attributes or {})["stackone.wait.duration"]
                waited = float(seconds) * 1e9 * scale
                drawn.append(bar(LABELS + (event.timestamp - begin) * scale - waited, y + 4.5, waited, 6, WAIT))
        y += ROW
    seconds_passed = range(int((end - begin) / 1e9) + 1)
    drawn += [text(LABELS + second * 1e9 * scale, 14, f"{second} s") for second in seconds_passed]
    y += 22
    drawn.append(text(8, y, "seconds that calls waited, all together"))
    y += 8
    longest = max(waits.values())
    for reason, seconds in sorted(waits.items(), key=lambda item: -item[1]):
        drawn.append(text(22, y + 11, reason))
        drawn.append(bar(LABELS, y + 2, seconds / longest * (WIDTH - LABELS - 90), 11, WAIT))
        drawn.append(text(LABELS + seconds / longest * (WIDTH - LABELS - 90) + 6, y + 11, f"{seconds:.2f} s"))
        y += ROW
    keys = [("call", CALL), ("request", REQUEST), ("failed request", FAILED), ("wait", WAIT)]
    x = 8.0
    for name, colour in keys:
        drawn += [bar(x, y + 12, 11, 11, colour), text(x + 16, y + 21, name)]
        x += 110
    drawn.append(text(WIDTH - 8, y + 21, "python -m benchmarks.observed_run", "end"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 32}" viewBox="0 0 {WIDTH} {y + 32}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">\n' + "\n".join(drawn) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(*asyncio.run(run())), "utf-8")
    print(PICTURE)
