"""Two drivers, each a process of its own, with one checkpoint: `make spark`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .cluster import Cluster, reason_to_skip
from .test_cluster import PAGES, Pausing, large

__all__ = ["large"]

pytestmark = [pytest.mark.spark, pytest.mark.timeout(0)]

REFUSED = ("CONCURRENT_STREAM_LOG_UPDATE", "another writer already committed this batch")


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := reason_to_skip():
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("spark"))
    try:
        made.start(workers=0, cores=0)
        yield made
    finally:
        made.close()


def test_of_two_drivers_with_one_checkpoint_one_goes_on(cluster: Cluster, large: Pausing) -> None:
    """The second one comes while the first waits for an answer, and asks for the same; each row is written once."""
    settings = {"spark.master": "local[1]"}
    first, second = (cluster.run("shared", large, name=name, settings=settings) for name in ("first", "second"))
    for driver in (first, second):
        driver.wait_for("sharing")
    large.stop_at(large.request_count + PAGES // 2)
    first.go_on()
    cluster.wait(lambda: large.stopped, first)
    second.go_on()
    cluster.workers.append(second.process)
    cluster.wait(lambda: cluster.python_workers(large), second)
    large.go_on()
    told: list[Any] = [driver.wait_for("shared") for driver in (first, second)]
    ended = [one for one in told if one["shared"] is None]
    refused = [one["shared"] for one in told if one["shared"] is not None]
    assert (len(ended), len(refused)) == (1, 1), told
    assert any(text in refused[0] for text in REFUSED)
    assert (ended[0]["rows"], ended[0]["distinct"]) == (100 * PAGES, 100 * PAGES)
    for driver in (first, second):
        driver.wait()
