"""Decoding alone: one completion, a page of a hundred, and what a hundred thousand of them weigh."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import data


def _interleaved(ways: dict[str, Callable[[], object]], number: int, rounds: int) -> dict[str, float]:
    """Return the best microseconds of each way; they take turns, so that a noisy moment hits them all."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best[name], timeit.timeit(way, number=number) / number * 1e6)
    return best


def run(*, quick: bool) -> dict[str, Any]:
    """Measure in interleaved repeats, print a table, and return the figures in microseconds."""
    from stackone_lms.models import Completion, CompletionResult, Page
    from stackone_lms.models.decode import Decoder

    from . import structs

    one, page = data.one(), data.page()
    extra = json.loads(page)
    for item in extra["data"]:
        item["department"] = {"name": "Sales"}
    unknown = json.dumps(extra).encode()
    result, pages = Decoder(CompletionResult), Decoder(Page[Completion])
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "bare msgspec Structs": (lambda: structs.decode_one(one), lambda: structs.decode_page(page)),
        "stackone-lms": (lambda: result(one), lambda: pages(page)),
        "stackone-lms keep_unknown": (
            lambda: result(one, keep_unknown=True),
            lambda: pages(unknown, keep_unknown=True),
        ),
        "json.loads": (lambda: json.loads(one), lambda: json.loads(page)),
    }
    try:
        from . import pydantics

        ways["pydantic"] = (
            lambda: pydantics.Result.model_validate_json(one),
            lambda: pydantics.Page.model_validate_json(page),
        )
    except ImportError:
        pass
    rounds = 15 if quick else 60
    singles = _interleaved({name: single for name, (single, _) in ways.items()}, 300, rounds)
    many = _interleaved({name: whole for name, (_, whole) in ways.items()}, 10, rounds)
    figures = {name: {"one_us": singles[name], "page_us": many[name]} for name in ways}
    base = figures["bare msgspec Structs"]
    print(f"\ndecoding: one completion ({len(one)} bytes), a page of 100 ({len(page)} bytes)\n")
    print("| decoder | one us | x bare | page us | x bare |\n| --- | --- | --- | --- | --- |")
    for name, row in figures.items():
        one_x, page_x = row["one_us"] / base["one_us"], row["page_us"] / base["page_us"]
        print(f"| {name} | {row['one_us']:.2f} | {one_x:.2f} | {row['page_us']:.0f} | {page_x:.2f} |")
    held = {
        name: _held(name) for name in ("bare", "stackone-lms", "pydantic") if name != "pydantic" or "pydantic" in ways
    }
    print("\nheld in memory, 100,000 completions\n\n| models | MB |\n| --- | --- |")
    for name, megabytes in held.items():
        print(f"| {name} | {megabytes:.0f} |")
    return {"decoders": figures, "held_mb": held}


def _held(name: str) -> float:
    command = [sys.executable, "-m", "benchmarks.decoding", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    return float(done.stdout)


def hold(name: str) -> float:
    """Return the megabytes that 100,000 decoded completions take in this process."""
    import psutil

    from stackone_lms.models import Completion, Page
    from stackone_lms.models.decode import Decoder

    from . import structs

    page = data.page()
    decode: Callable[[bytes], Any] = structs.decode_page
    if name == "stackone-lms":
        decode = Decoder(Page[Completion])
    elif name == "pydantic":
        from . import pydantics

        decode = pydantics.Page.model_validate_json
    decode(page)
    gc.collect()
    before = psutil.Process().memory_info().rss
    kept = [item for _ in range(1000) for item in decode(page).data]
    grown = psutil.Process().memory_info().rss - before
    assert len(kept) == 100_000
    return float(grown) / 2**20


if __name__ == "__main__":
    print(hold(sys.argv[1]))
