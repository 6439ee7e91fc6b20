"""What the runs below a folder scored, as Markdown: mean and spread over the seeds.

    python examples/summarization/table.py WORK

WORK holds METHOD-SEED/rouge.json, as scitldr.sh and aeslc.sh leave them.
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path

MEASURES = ("ROUGE-1", "ROUGE-2", "ROUGE-L")


def runs(work: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Method -> seed -> measure -> F in points."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for path in sorted(work.glob("*-*/rouge.json")):
        method, seed = path.parent.name.rsplit("-", 1)
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        found[method][seed] = {m: 100 * scores[m]["F"]["average"] for m in MEASURES}
    if not found:
        raise SystemExit(f"{work}: holds no METHOD-SEED/rouge.json: run scitldr.sh or aeslc.sh")
    return found


def cell(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", metavar="WORK", type=Path)
    found = runs(parser.parse_args().work)
    print("| method | seed | " + " | ".join(MEASURES) + " |\n|---|---|---|---|---|")
    for method, by_seed in found.items():
        for seed, scores in by_seed.items():
            values = " | ".join(f"{scores[measure]:.2f}" for measure in MEASURES)
            print(f"| {method} | {seed} | {values} |")
    for method, by_seed in found.items():
        columns = [cell([scores[m] for scores in by_seed.values()]) for m in MEASURES]
        print(f"| **{method}** | mean ± sd of {len(by_seed)} | " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
