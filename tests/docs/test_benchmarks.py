"""What `make bench` measures with."""

from __future__ import annotations

from benchmarks import data, server
from stackone_lms import SyncClient


def test_the_plain_server_answers_gets_and_lists_however_they_are_asked() -> None:
    """nginx is not everywhere, and a peer that asks in another way is answered the same."""
    with (
        server.running(plain=True) as (url, name),
        SyncClient(data.KEY, data.ACCOUNT, base_url=url, rate_limit=None) as client,
    ):
        assert name == "asyncio"
        assert client.completions.get("any").data.id == "any"
        assert client.completions.get("any", fields=["id", "score"], raw=True).data.id == "any"
        assert len(client.completions.list().first_page().data) == 100
        assert len(client.completions.list(page_size=100, fields=["id"]).first_page().data) == 100
