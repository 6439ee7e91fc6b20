"""What the runs of recadam_runs.sh scored, as Markdown, and how far they went, as a picture.

    python examples/glue/recadam_table.py OUT [--picture FILE.png]

OUT holds TASK/METHOD-SEED.log.  A run counts as failed that did not end, or whose value (the
best of its validations, or the last) is not above what the commonest label scores.  A run that
did not end is in n and among the failed, and in no other column.
"""

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Metric, and in percent what always giving the commonest label scores on the dev set.
TASKS = {"RTE": ("accuracy", 100 * 146 / 277), "CoLA": ("mcc", 0.0)}
METHODS = ("plain", "recadam-pi", "recadam-ri", "cwgnc")
LABELS = {
    "plain": "Adam",
    "recadam-pi": "RecAdam, from pre-trained",
    "recadam-ri": "RecAdam, from random",
    "cwgnc": "Adam, clipped by component",
}
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = dict(zip(METHODS, ("#0072B2", "#E69F00", "#009E73", "#CC79A7"), strict=True))
# Logs round, so that the baseline may stand there a little above itself.
ROUNDING = 0.005

Series = dict[int, float]


class Run(NamedTuple):
    """One log; the training's figures are by update."""

    ended: bool
    metric: Series
    distance: Series
    task_weight: Series
    clipped: Series


Runs = dict[str, dict[str, list[Run]]]


def read(path: Path, metric: str) -> Run:
    """The figures of a log that --log-format json --log-file has written."""
    text = path.read_text(encoding="utf-8")
    entries = [json.loads(line) for line in text.splitlines() if line.startswith('{"epoch"')]

    def series(name: str, prefix: str = "") -> Series:
        updates = f"{prefix}num_updates"
        having = (entry for entry in entries if updates in entry and prefix + name in entry)
        return {int(entry[updates]): float(entry[prefix + name]) for entry in having}

    return Run(
        ended="\ndone training" in text,
        metric=series(metric, "valid_"),
        distance=series("anchor_distance"),
        task_weight=series("recadam_lambda"),
        clipped=series("clipped_share"),
    )


def runs(out: Path) -> Runs:
    """Task -> method -> its runs by seed, in the order of TASKS and METHODS."""
    found: Runs = defaultdict(dict)
    for task, (metric, _) in TASKS.items():
        for method in METHODS:
            logs = sorted((out / task).glob(f"{method}-*.log"), key=seed_of)
            if logs:
                found[task][method] = [read(log, metric) for log in logs]
    if not found:
        raise SystemExit(f"{out}: holds no TASK/METHOD-SEED.log: run recadam_runs.sh")
    return found


def seed_of(log: Path) -> int:
    return int(log.stem.rsplit("-", 1)[1])


def best(run: Run) -> float:
    return max(run.metric.values())


def last(run: Run) -> float:
    return run.metric[max(run.metric)]


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def scores(found: Runs) -> list[str]:
    """The table of the metric: one line for the best validations, one for the last."""
    columns = ("task", "metric", "method", "value", "n", "median", "mean", "sd", "min", "max")
    lines = [row([*columns, "failed"]), row([*["---"] * 4, *["---:"] * 7])]
    for task, methods in found.items():
        metric, baseline = TASKS[task]
        for method, mine in methods.items():
            for name, value in (("best", best), ("last", last)):
                cells = score(mine, value, baseline)
                lines.append(row([task, metric, LABELS[method], name, *cells]))
    return lines


def score(mine: Sequence[Run], value: Callable[[Run], float], baseline: float) -> list[str]:
    """The cells from n to failed."""
    values = [value(run) for run in mine if run.ended and run.metric]
    learned = sum(one > baseline + ROUNDING for one in values)
    figures = ["-"] * 5
    if values:
        spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
        median, mean = statistics.median(values), statistics.mean(values)
        figures = [f"{median:.1f}", f"{mean:.1f}", spread, f"{min(values):.1f}"]
        figures.append(f"{max(values):.1f}")
    return [str(len(mine)), *figures, str(len(mine) - learned)]


def distances(found: Runs) -> list[str]:
    """The table of the distance to the pre-trained weights, and of what was clipped."""
    lines = [row(["task", "method", "n", "first logged", "last", "min, max", "clipped"])]
    lines.append(row([*["---"] * 2, *["---:"] * 5]))
    for task, methods in found.items():
        for method, mine in methods.items():
            ended = [run for run in mine if run.ended and run.distance]
            if ended:
                lines.append(row([task, LABELS[method], len(ended), *way(ended)]))
    return lines


def way(ended: Sequence[Run]) -> list[str]:
    """Medians over the seeds, and the share of parameters clipped, over all logged updates."""
    first = statistics.median(run.distance[min(run.distance)] for run in ended)
    final = [run.distance[max(run.distance)] for run in ended]
    clipped = [share for run in ended for share in run.clipped.values()]
    share = f"{100 * statistics.mean(clipped):.0f} %" if clipped else "-"
    spread = f"{min(final):.2f}, {max(final):.2f}"
    return [f"{first:.3g}", f"{statistics.median(final):.2f}", spread, share]


def draw(path: Path, found: Runs) -> None:
    """Write the PNG: a panel a task, a line a method, the band from least to most seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(found), figsize=(4.6 * len(found), 4.2), squeeze=False, layout="constrained"
    )
    for axes, (task, methods) in zip(panels[0], found.items(), strict=True):
        for method, mine in methods.items():
            line(axes, method, mine)
        mark_half(axes, methods)
        axes.set_yscale("log")
        axes.set_title(task, fontsize=11)
        axes.set_xlabel("update")
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0][0].set_ylabel("Euclidean distance to the pre-trained weights")
    panels[0][-1].legend(frameon=False, fontsize=9)
    figure.suptitle("Median over the seeds; the band holds all of them", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def line(axes: Any, method: str, mine: Sequence[Run]) -> None:
    by_update: dict[int, list[float]] = defaultdict(list)
    for run in mine:
        for update, distance in run.distance.items():
            by_update[update].append(distance)
    updates = sorted(by_update)
    values = [by_update[update] for update in updates]
    colour = COLOURS[method]
    axes.fill_between(
        updates, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.2, lw=0
    )
    medians = [statistics.median(v) for v in values]
    # Dashed, for it lies upon Adam's.
    style = "--" if method == "cwgnc" else "-"
    axes.plot(updates, medians, style, color=colour, linewidth=1.8, label=LABELS[method])


def mark_half(axes: Any, methods: dict[str, list[Run]]) -> None:
    """Where lambda passes a half: before it the pull rules, after it the task."""
    weights = [run.task_weight for run in methods.get("recadam-pi", [])]
    crossed = [u for one in weights for u, weight in one.items() if 0.5 <= weight < 1]
    if crossed:
        axes.axvline(min(crossed), color="#777777", linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            "λ = ½",
            (min(crossed), 0.0),
            xycoords=("data", "axes fraction"),
            xytext=(4, 6),
            textcoords="offset points",
            fontsize=9,
            color="#555555",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT", type=Path)
    parser.add_argument("--picture", metavar="FILE", type=Path, help="write the picture there")
    args = parser.parse_args()
    found = runs(args.out)
    print("\n".join([*scores(found), "", *distances(found)]))
    if args.picture:
        draw(args.picture, found)


if __name__ == "__main__":
    main()
