"""`python -m benchmarks.charts`: draws docs/_static/*.svg from the results that the benchmarks have written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

HERE = Path(__file__).parent
PICTURES = HERE.parent / "docs" / "_static"
WIDTH = 5.0  # inches, so that text of 10 points can still be read when a phone shows it in 360 pixels
OURS, THEIRS, INK = "#3d6cc9", "#a9b4c4", "#768390"  # an ink for light and dark pages

mpl.rcParams.update({"svg.hashsalt": "stackone-lms", "font.size": 10, "text.color": INK, "axes.labelcolor": INK})
mpl.rcParams.update({"xtick.color": INK, "ytick.color": INK, "axes.edgecolor": THEIRS, "svg.fonttype": "none"})


def bars(title: str, values: dict[str, float], unit: str, name: str) -> None:
    """Draw horizontal bars, cheapest on top, ours in colour, on a logarithmic scale."""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    figure, axes = plt.subplots(figsize=(WIDTH, 0.42 * len(ordered) + 1.1))
    colours = [OURS if label.startswith("stackone-lms") else THEIRS for label, _ in ordered]
    drawn = axes.barh([label for label, _ in ordered], [value for _, value in ordered], color=colours, height=0.62)
    axes.bar_label(drawn, [f"{value:,.0f}" for _, value in ordered], padding=4, color=INK)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(right=max(values.values()) * 3)
    axes.set_xlabel(unit)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, name)


def growth(rows: dict[str, dict[str, float]], name: str, command: str) -> None:
    """Draw cost and memory against the number of ids."""
    sizes = [int(size) for size in rows]
    figure, (cost, memory) = plt.subplots(1, 2, figsize=(7.2, 2.6))
    costs = [row["cpu_us"] for row in rows.values()]
    cost.plot(sizes, costs, marker="o", color=OURS)
    cost.set(xscale="log", xlabel="ids", ylabel="CPU microseconds an id", ylim=(0, max(costs) * 1.3))
    memory.plot(sizes, [row["grown_mb"] for row in rows.values()], marker="o", color=OURS)
    memory.set(xscale="log", xlabel="ids", ylabel="peak RSS above idle, MB", ylim=(0, 40))
    for axes in (cost, memory):
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, name, command)


def limits(cases: dict[str, dict[str, dict[str, float]]]) -> None:
    """Draw how long bulk fetches take under a rate limit, beside the ideal, and what they lose."""
    figure, axes = plt.subplots(figsize=(7.2, 4.4))
    place, ticks = 0.0, dict[float, str]()
    for case, rows in cases.items():
        axes.text(0.02, place, case, va="center", color=INK, fontweight="bold")
        for name, row in sorted(rows.items(), key=lambda item: not item[0].startswith("get_many")):
            place += 1
            ours = name.startswith("get_many")
            axes.barh(place, row["x_ideal"], color=OURS if ours else THEIRS, height=0.7)
            lost = f", {1 - row['fetched']:.0%} lost" if row["fetched"] < 0.995 else ""
            label = f"{row['x_ideal']:.2f}, {row['refused']:.1%} refused{lost}"
            axes.text(max(1, row["x_ideal"]) + 0.03, place, label, va="center", color=INK)
            ticks[place] = name
        place += 1.4
    axes.axvline(1, color=INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set(xlabel="time to fetch N records / (N / R), after the first ones", ylim=(place - 0.6, -0.8))
    axes.set_xlim(right=max(row["x_ideal"] for rows in cases.values() for row in rows.values()) + 1.1)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "bulk-limits", "python -m benchmarks.bulk")


def narrow(rows: dict[str, dict[str, Any]], capacity: float) -> None:
    """Draw how a bulk fetch finds out what a narrow server can do."""
    figure, axes = plt.subplots(figsize=(7.2, 2.6))
    for (name, row), colour in zip(sorted(rows.items(), key=lambda item: -len(item[0])), (THEIRS, OURS), strict=True):
        moments = row["moments"]
        step = row["step"]
        rates = [step / (later - sooner) for sooner, later in itertools.pairwise([0.0, *moments])]
        axes.plot(moments, rates, color=colour, label=name)
    axes.axhline(capacity, color=INK, linewidth=0.8, linestyle="--")
    axes.text(0, capacity * 1.1, " dashed: what the server can do", color=INK, fontsize=8.5)
    axes.set(xlabel="seconds", ylabel="records a second", ylim=(0, capacity * 1.25), xlim=(0, None))
    axes.legend(frameon=False, labelcolor=INK, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "bulk-narrow", "python -m benchmarks.bulk")


def layers(counts: dict[str, int]) -> None:
    """Draw where the instructions of one get go, beside what other ways of making it cost in all."""
    bare, alone, query = counts["bare asyncio"], counts["lean transport alone"], counts["path and query"]
    decoding, whole = counts["decoding"], counts["stackone-lms"]
    parts = {
        "asyncio, socket": bare,
        "connection, HTTP parser": alone - bare,
        "path and query": query,
        "decoding": decoding,
        "limits, retries, checks": whole - alone - query - decoding,
    }
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4))
    shades = ["#1f3a73", "#2f549f", OURS, "#7d9ede", "#b9ccef"]
    left = 0.0
    for (label, number), shade in zip(parts.items(), shades, strict=True):
        axes.barh("stackone-lms", number / 1000, left=left, color=shade, height=0.62, label=label)
        left += number / 1000
    for name in ("stackone-lms session", "aiohttp tuned + msgspec", "aiohttp"):
        colour = OURS if name.startswith("stackone-lms") else THEIRS
        axes.bar_label(
            axes.barh(name, counts[name] / 1000, color=colour, height=0.62), fmt="{:.0f}", padding=4, color=INK
        )
    axes.text(left, 0, f" {left:.0f}", va="center", color=INK)
    axes.invert_yaxis()
    axes.set_xlabel("thousand instructions a get, 64 at a time")
    axes.legend(fontsize=9.2, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(-0.5, -0.25), ncols=2)
    axes.set_xlim(right=max(counts.values()) / 1000 * 1.2)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "layers")


def save(figure: Any, name: str, command: str = "") -> None:
    """Write a picture, with nothing in it that changes from run to run but the figures, and what measured them."""
    figure.tight_layout()
    figure.text(0.995, 0.01, command, ha="right", fontsize=7, color=INK)
    figure.savefig(PICTURES / f"{name}.svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(PICTURES / f"{name}.svg")


def _measured(name: str) -> dict[str, Any]:
    file = HERE / "results" / f"{name}.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def main() -> None:
    """Draw whatever the results hold."""
    PICTURES.mkdir(exist_ok=True)
    layers(json.loads((HERE / "instructions.json").read_text())["instructions"])
    bulk, results = _measured("bulk"), _measured("results")
    if "limited" in bulk:
        limits(bulk["limited"])
    if "narrow" in bulk:
        narrow(bulk["narrow"]["clients"], bulk["narrow"]["capacity"])
    titles = {
        "get, concurrency 64": "get-64",
        "page of 100, concurrency 1": "page-1",
        "blocking get, one thread": "blocking",
    }
    for title, name in titles.items():
        if title in results.get("requests", {}):
            rows = results["requests"][title]
            figures = {label: row["cpu_us"] for label, row in rows.items()}
            bars(f"CPU of one call: {title}", figures, "microseconds, logarithmic", name)
    if "decode" in results:
        pages = {label: row["page_us"] for label, row in results["decode"]["decoders"].items()}
        bars("Decoding a page of 100 completions", pages, "microseconds, logarithmic", "decoding")
    if "scale" in results:
        growth(results["scale"]["get_many"], "scale", "python -m benchmarks scale")


if __name__ == "__main__":
    main()
