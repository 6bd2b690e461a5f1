"""`python -m benchmarks.observing`: what observers add to a call, in CPU time, without a network.

One process, all variants in turns, round after round, so that whatever else the machine does meets all of them alike.
Of each variant the best round counts. What the SDK takes for the two spans and the two numbers of a call is measured
beside them: no observer can be cheaper. It depends on the SDK's version (1.45 takes more than twice what 1.38 does for
numbers), which is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from . import data

RESULTS = Path(__file__).parent / "results" / "observing.json"
TARGETS = {"API without an SDK": 2.5, "metrics": 20.0, "spans and metrics": 70.0}
"""Microseconds that each may add to a call, on a machine where a call without an observer takes 4.4."""

Call = Callable[[], Awaitable[Any]]


def observers() -> dict[str, Any]:
    """Return the observer of each variant."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.trace import NoOpTracerProvider

    from stackone_lms.otel import OpenTelemetry

    class Nowhere(SpanExporter):
        """Takes spans and drops them."""

        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    meters = MeterProvider([InMemoryMetricReader()])
    tracers = TracerProvider()
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
    return {
        "none": None,
        "API without an SDK": OpenTelemetry(),
        "metrics": OpenTelemetry(tracer_provider=NoOpTracerProvider(), meter_provider=meters),
        "spans and metrics": OpenTelemetry(tracer_provider=tracers, meter_provider=meters),
    }


@contextlib.asynccontextmanager
async def calls() -> AsyncIterator[dict[str, Call]]:
    """Make a client of each variant, with a transport that has the answer ready."""
    from stackone_lms import AsyncClient
    from stackone_lms.transport.base import Request, Response, TimeLimits, Transport

    reply = Response(200, {"content-type": "application/json", "x-request-id": "r"}, data.one())

    class Ready(Transport):
        async def send(self, request: Request, limits: TimeLimits) -> Response:
            return reply

    found: dict[str, Call] = {}
    async with contextlib.AsyncExitStack() as stack:
        for name, observer in observers().items():
            client = AsyncClient(data.KEY, data.ACCOUNT, rate_limit=None, transport=Ready(), observer=observer)
            await stack.enter_async_context(client)
            found[name] = lambda client=client: client.completions.get(data.ID)  # type: ignore[misc]
        yield found


def sdk_alone() -> dict[str, Call]:
    """Return what the SDK itself does for a call, without a call."""
    made = observers()

    async def two_numbers() -> None:
        to = made["metrics"].instruments
        to.request_duration.record(1.0, {"a": "1", "b": "2", "c": 3, "d": "4", "e": 5})
        to.call_duration.record(1.0, {"a": "1"})

    async def two_spans() -> None:
        tracer = made["spans and metrics"].instruments.tracer
        outer = tracer.start_span("outer", attributes={"a": "1"})
        tracer.start_span("inner", attributes={"a": "1", "b": "2", "c": 3, "d": "4"}).end()
        outer.end()
        await two_numbers()

    return {"the SDK's part of metrics": two_numbers, "the SDK's part of both": two_spans}


async def measure(rounds: int, each: int) -> dict[str, float]:
    """Return the CPU microseconds of a call, by variant."""
    best: dict[str, float] = {}
    async with calls() as of_clients:
        variants = of_clients | sdk_alone()
        for round in range(-1, rounds):  # the first only warms up
            for name, call in variants.items():
                began = time.thread_time()
                for _ in range(each):
                    await call()
                cost = (time.thread_time() - began) / each * 1e6
                if round >= 0:
                    best[name] = min(cost, best.get(name, cost))
    return best


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--calls", type=int, default=500)
    asked = parser.parse_args()
    costs = asyncio.run(measure(asked.rounds, asked.calls))
    print(f"\nopentelemetry-sdk {version('opentelemetry-sdk')}")
    print("\n| observer | us a call | more | may be |\n| --- | --- | --- | --- |")
    for name, cost in costs.items():
        more = f"{cost - costs['none']:.1f} | {TARGETS[name]}" if name in TARGETS else " | "
        print(f"| {name} | {cost:.1f} | {more} |")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    main()
