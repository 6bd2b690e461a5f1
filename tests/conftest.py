"""Settings of the whole test suite."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Mapping

from hypothesis import HealthCheck, settings

from .surroundings import leave_aside

# How long an example takes depends on what else the machine does; pytest-timeout bounds the whole test.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

leave_aside()


def pytest_collection_finish() -> None:
    """Leave all that is imported by now out of later garbage collections: tests collect often, and it stays anyway."""
    gc.collect()
    gc.freeze()


if os.environ.get("STACKONE_LMS_TEST_LOOP") == "uvloop":

    def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Run the tests on uvloop."""
        import uvloop

        return {"uvloop": uvloop.new_event_loop}
