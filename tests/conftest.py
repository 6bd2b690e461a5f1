"""Settings of the whole test suite."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does; pytest-timeout bounds the whole test.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Nobody's own profiles and caches, in child processes neither: what is below a device is not there.
for _variable in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
    os.environ[_variable] = os.devnull
