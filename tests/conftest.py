"""Settings of the whole test suite."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from .surroundings import leave_aside

# How long an example takes depends on what else the machine does; pytest-timeout bounds the whole test.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

leave_aside()
