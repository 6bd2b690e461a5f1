"""The collector of the guide gives Prometheus what a client has counted."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from stackone_lms import NotFoundError, RateLimit, RetryPolicy, SyncClient
from stackone_lms.sandbox import Sandbox

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "prometheus.md"


def test_the_collector_of_the_guide_counts_what_happened() -> None:
    (code,) = re.findall(r"^class StatsCollector.*?(?=^client = )", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 20
    names: dict[str, Any] = {}
    exec("from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily\n" + code, names)
    registry = CollectorRegistry()
    with Sandbox.in_thread() as sandbox:
        options: dict[str, Any] = {"retry": RetryPolicy(base=0.01), "rate_limit": RateLimit(6000, burst=1)}
        with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, **options) as client:
            registry.register(names["StatsCollector"](client))
            sandbox.fail_next(503)
            client.users.list().first_page()
            with contextlib.suppress(NotFoundError):
                client.users.get("nobody")
            text = generate_latest(registry).decode()
    values = {name: float(value) for name, value in re.findall(r"^([^# ]\S*) (\S+)$", text, re.MULTILINE)}
    assert values["stackone_requests_total"] == 3
    assert values["stackone_retries_total"] == 1
    assert values["stackone_throttled_total"] == 0
    assert values['stackone_failures_total{error="NotFoundError"}'] == 1
    assert values['stackone_waited_seconds_total{reason="retry_pause"}'] > 0
    assert values['stackone_waited_seconds_total{reason="rate_limit"}'] >= 0
    assert (values["stackone_limit"], values["stackone_used"]) == (6000, 3)
    assert values["stackone_in_flight"] == values["stackone_waiting"] == values["stackone_paused_for"] == 0
