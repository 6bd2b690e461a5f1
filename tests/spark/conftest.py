"""A stream for each test, closed after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .accounts import Accounts, Make, Stream


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Stream] = []

    def make(server: Accounts, **given: str) -> Stream:
        made.append(Stream(monkeypatch, server, **given))
        return made[-1]

    yield make
    for one in made:
        one.query.close()
        one.close()
