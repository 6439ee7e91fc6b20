"""What the runs of family_runs.sh scored and took, as a Markdown table.

    python examples/glue/family_table.py OUT

OUT holds TASK/METHOD-SEED.log and .json.  A run's value is the best of its validations, "last"
the one after its last update.  A run counts as failed that did not end, or whose value is not
above what the commonest label scores; one that did not end is in n and among the failed, and in
no other column.  Seconds by update are the median over a run's log lines, then over the seeds;
"x plain" divides by that of the same task without a method.  Processor seconds are of the whole
run, its start, its validations and whatever a method does beforehand included.  Memory is the
peak of the process, Python and torch included.
"""

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

# Metric, and in percent what always giving the commonest label scores on the dev set.
TASKS = {"SST-2": ("accuracy", 100 * 444 / 872), "CoLA": ("mcc", 0.0)}
PLAIN = "plain"
# Logs round, so that the baseline may stand there a little above itself.
ROUNDING = 0.005
COLUMNS = ("task", "metric", "method", "n", "median", "min", "max", "sd", "failed", "by seed")
COLUMNS += ("median of last", "s / update", "x plain", "processor s", "peak MiB")


class Run(NamedTuple):
    """One log and what was measured of its process.

    Attributes:
        values: the metric of each validation, in percent, in their order; empty where the run
            did not end.
        update_seconds: median over the log lines; None without any.
        cpu_seconds: of the whole run.
        peak_mib: of the process.
    """

    values: list[float]
    update_seconds: Optional[float] = None
    cpu_seconds: Optional[float] = None
    peak_mib: Optional[float] = None


def read(log: Path, metric: str) -> Run:
    """The figures of a run; of one that did not end, none."""
    facts = log.with_suffix(".json")
    if not facts.exists():
        return Run([])
    measured = json.loads(facts.read_text(encoding="utf-8"))
    lines = log.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines if line.startswith('{"epoch"')]
    values = [float(e[f"valid_{metric}"]) for e in entries if f"valid_{metric}" in e]
    # Tokens by update over tokens by second: "ups" has two decimals only.
    seconds = [float(e["wpb"]) / float(e["wps"]) for e in entries if float(e.get("wps", 0)) > 0]
    return Run(
        values,
        statistics.median(seconds) if seconds else None,
        measured["cpu_seconds"],
        measured["peak_kib"] / 1024,
    )


def runs(out: Path, task: str, metric: str) -> dict[str, list[Run]]:
    """Method -> its runs by seed: plain fine-tuning first, then in the order of the alphabet."""
    found: dict[str, dict[int, Run]] = {}
    for log in (out / task).glob("*-*.log"):
        method, seed = log.stem.rsplit("-", 1)
        found.setdefault(method, {})[int(seed)] = read(log, metric)
    names = sorted(found, key=lambda name: (name != PLAIN, name))
    return {name: [found[name][seed] for seed in sorted(found[name])] for name in names}


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def table(out: Path) -> list[str]:
    lines = [row(COLUMNS), row([*["---"] * 3, *["---:"] * 6, "---", *["---:"] * 5])]
    for task, (metric, baseline) in TASKS.items():
        found = runs(out, task, metric)
        plain = median(run.update_seconds for run in found.get(PLAIN, []))
        for method, mine in found.items():
            cells = [*scores(mine, baseline), *costs(mine, plain)]
            lines.append(row([task, metric, method, *cells]))
    if len(lines) == 2:
        raise SystemExit(f"{out}: holds no TASK/METHOD-SEED.log: run family_runs.sh")
    return lines


def scores(mine: Sequence[Run], baseline: float) -> list[str]:
    """The cells from n to the median of last."""
    best = [max(run.values) for run in mine if run.values]
    last = [run.values[-1] for run in mine if run.values]
    failed = len(mine) - sum(value > baseline + ROUNDING for value in best)
    by_seed = ", ".join(f"{max(run.values):.1f}" if run.values else "-" for run in mine)
    spread = f"{statistics.stdev(best):.2f}" if len(best) > 1 else "-"
    least, most = (f"{pick(best):.1f}" if best else "-" for pick in (min, max))
    cells = [str(len(mine)), shown(median(best), 1), least, most, spread]
    return [*cells, str(failed), by_seed, shown(median(last), 1)]


def costs(mine: Sequence[Run], plain: Optional[float]) -> list[str]:
    """The cells from seconds by update to memory."""
    update = median(run.update_seconds for run in mine)
    ratio = update / plain if update and plain else None
    cpu = median(run.cpu_seconds for run in mine)
    peak = median(run.peak_mib for run in mine)
    return [shown(update, 3), shown(ratio, 2), shown(cpu, 0), shown(peak, 0)]


def median(values: Iterable[Optional[float]]) -> Optional[float]:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def shown(value: Optional[float], digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", metavar="OUT", type=Path)
    print("\n".join(table(parser.parse_args().out)))


if __name__ == "__main__":
    main()
