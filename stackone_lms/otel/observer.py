"""The observer, and what `opentelemetry-instrument` loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from opentelemetry import context, metrics, trace

from ..engine.observers import (
    BulkObserver,
    BulkStart,
    CallObserver,
    CallStart,
    ExportObserver,
    ExportStart,
    Observer,
    default_observers,
)
from ..engine.stats import Stats
from ..errors import ConfigurationError
from .attributes import Attempts, Attributes, describe
from .bulk import BulkFetch, ExportRun
from .calls import SingleCall
from .instruments import Instruments


class OpenTelemetry(Observer):
    """Reports to OpenTelemetry what clients do. One may serve several clients.

    Args:
        accounts: Put the ids of linked accounts into spans and metrics (`stackone.account_id`). Each account then makes
            time series of its own.
        attempts: Which requests have spans. `calls`: those of single calls. `calls+failed`: also those of bulk fetches
            and exports that fail. `none`: none. Metrics count them all.
        propagate: Send the trace context in the headers of requests (`traceparent`, as far as the propagators of
            OpenTelemetry are set so).
        tracer_provider: Default: the global one, also if it is set later.
        meter_provider: Default: the global one, also if it is set later.

    Raises:
        ConfigurationError: An option is none of those.
    """

    def __init__(
        self,
        *,
        accounts: bool = False,
        attempts: Attempts = "calls",
        propagate: bool = False,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        if attempts not in get_args(Attempts):
            raise ConfigurationError(f"attempts must be one of {', '.join(get_args(Attempts))}, not {attempts!r:.60}")
        for name, value in {"accounts": accounts, "propagate": propagate}.items():
            if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"{name} must be True or False, not {value!r:.60}")
        self.instruments = Instruments(accounts, attempts, propagate, tracer_provider, meter_provider)

    def client_created(self, stats: Callable[[], Stats | None], /) -> None:
        """Look at the rate limit of another client from now on."""
        self.instruments.clients.add(stats)

    def call_started(self, call: CallStart, /) -> CallObserver | None:
        """Begin the span of a call."""
        if not self.instruments.wanted():
            return None
        return SingleCall(self.instruments, call, describe(call))

    def bulk_started(self, bulk: BulkStart, /) -> BulkObserver | None:
        """Begin the span of a bulk fetch."""
        if not self.instruments.wanted():
            return None
        about: Attributes = {"stackone.operation": bulk.operation}
        return BulkFetch(self.instruments, bulk, f"stackone {bulk.operation}", about, context.get_current())

    def export_started(self, export: ExportStart, /) -> ExportObserver | None:
        """Begin the span of an export."""
        return ExportRun(self.instruments, export) if self.instruments.wanted() else None


class StackOneInstrumentor:
    """What `opentelemetry-instrument` loads; a program may call it itself.

    Clients made from then on have an `OpenTelemetry` observer, unless they are given one.
    """

    def instrument(self, **options: Any) -> None:
        """Begin.

        Args:
            **options: Those of `OpenTelemetry`; others are not looked at.
        """
        default_observers[:] = [OpenTelemetry(**{name: options[name] for name in _OPTIONS if name in options})]

    def uninstrument(self, **_: Any) -> None:
        """End: clients made from now on have none."""
        default_observers.clear()


_OPTIONS = ("accounts", "attempts", "propagate", "tracer_provider", "meter_provider")
