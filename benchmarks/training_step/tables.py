"""The figures as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.harness import ratio_with_spread
from benchmarks.training_step.measure import Measured
from benchmarks.training_step.parts import PARTS

__all__ = ["growth", "heading", "main", "markdown", "parts"]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def heading(measured: Measured) -> str:
    """What was trained, in a line or two."""
    facts = measured.facts
    shapes = sorted({f"{rows} x {tokens}" for rows, tokens in facts["shapes"]})
    told = ", ".join(shapes[:3]) + (f" and {len(shapes) - 3} more" if len(shapes) > 3 else "")
    updates = len(facts["shapes"])
    return (
        f"{measured.setting.name()}; {facts['parameters']:,} parameters, batches of {told} with "
        f"{facts['tokens']:.0f} tokens that are no padding; {updates} in a turn"
    )


def main(measured: Measured) -> str:
    """Time, ratio, rate and memory of each peer."""
    head = ["peer", "seconds", "time ratio (least to most)", "tokens/s", "peak MiB"]
    rows = []
    for figures in measured.figures.values():
        seconds, rate = f"{figures['seconds']:.3g}", f"{figures['tokens_per_second']:,.0f}"
        row = [figures["title"], seconds, ratio_with_spread(figures), rate]
        rows.append([*row, *_memory(figures)])
    return markdown([*head, "memory ratio"], rows)


def _memory(figures: Mapping[str, Any]) -> list[str]:
    if "peak_mib" not in figures:
        return ["", ""]
    return [f"{figures['peak_mib']:.0f}", f"{figures['memory_ratio']:.2f}"]


def parts(measured: Measured) -> str:
    """Share of each part of an update, and its operations; empty where they were not measured."""
    timed = [figures for figures in measured.figures.values() if "parts" in figures]
    there = [part for part in PARTS if any(figures["parts"][part] for figures in timed)]
    rows = []
    for figures in timed:
        whole = sum(figures["parts"].values())
        shares = [f"{100 * figures['parts'][part] / whole:.1f} %" for part in there]
        counted = f"{figures['operations']:,.0f}"
        rows.append([figures["title"], *shares, f"{whole:.3g}", counted])
    head = ["peer", *there, "seconds, timed so", "operations of torch"]
    return markdown(head, rows) if rows else ""


def growth(by: str, values: Sequence[int], steps: Sequence[Measured]) -> str:
    """Seconds, ratio and memory of each peer at each value."""
    rows = []
    for value, step in zip(values, steps, strict=True):
        for figures in step.figures.values():
            seconds = f"{figures['seconds']:.3g}"
            row = [f"{value:,}", figures["title"], seconds, ratio_with_spread(figures)]
            rows.append([*row, *_memory(figures)])
    head = [by, "peer", "seconds", "time ratio (least to most)", "peak MiB", "memory ratio"]
    return markdown(head, rows)
