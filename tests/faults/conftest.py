"""Every test that takes `carrier` runs over each transport that there is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from .sdk import LEAN, SECRETS


@pytest.fixture(params=["aiohttp", LEAN])
def carrier(request: pytest.FixtureRequest) -> Any:
    """The name of a transport."""
    return request.param


@pytest.fixture(autouse=True)
def _silent_about_secrets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever is logged, at any level and by anybody, holds no secret."""
    caplog.set_level(logging.DEBUG)
    yield
    text = "".join(record.getMessage() + (record.exc_text or "") for record in caplog.records)
    assert [secret for secret in SECRETS if secret in text] == []
