"""One update of a small BART through fairseq's trainer: plain, released R3F and ours.

    python -m benchmarks.generation_step [--rounds 7] [--json FILE]

2+2 layers of BART-base with its 50k vocabulary, tied; batch 8 x 128 to 8 x 64 without padding
(the hard case: ours skips padding before the projection); fp32, Adam, --clip-norm 0.1.  All
peers run with the plugin's fixes on and start from the same weights.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable

import torch

from benchmarks import fairseq_trainer, harness

MODULE = "benchmarks.generation_step"
OURS = ["--criterion", "label_smoothed_cross_entropy_r3f", "--r3f-lambda", "0.01"]
PLAIN = ["--criterion", "label_smoothed_cross_entropy"]
PEERS = {
    "fairseq plain": PLAIN,
    "fairseq R3F": PLAIN,  # its criterion is put in afterwards: its name is taken
    "rxf plain (lambda 0)": [*OURS[:3], "0"],
    "rxf R3F packed": OURS,
    "rxf R3F separate": [*OURS, "--r3f-passes", "separate"],
    "rxf R3F recompute": [*OURS, "--r3f-passes", "recompute"],
    "rxf R3F --r3f-grad clean": [*OURS, "--r3f-grad", "clean"],
}
VOCABULARY, ROWS, SOURCE, TARGET = 50265, 8, 128, 64


def write_dictionaries(folder: Path) -> None:
    words = "".join(f"w{number} 1\n" for number in range(VOCABULARY - 4))
    for language in ("source", "target"):
        (folder / f"dict.{language}.txt").write_text(words)


def flags(folder: Path, criterion: list[str]) -> list[str]:
    return [
        str(folder),
        *["--user-dir", str(Path(__file__).resolve().parent.parent / "rxf")],
        *["--task", "translation", "--source-lang", "source", "--target-lang", "target"],
        *["--arch", "bart_base", "--encoder-layers", "2", "--decoder-layers", "2"],
        *["--share-all-embeddings", "--share-decoder-input-output-embed"],
        *["--optimizer", "adam", "--lr", "1e-6", "--clip-norm", "0.1"],
        *[*criterion, "--label-smoothing", "0.1"],
        *([] if torch.cuda.is_available() else ["--cpu"]),
    ]


def trainer_of(name: str, folder: Path) -> Any:
    import rxf  # noqa: F401

    criterion = released if name == "fairseq R3F" else None
    trainer = fairseq_trainer.build_trainer(flags(folder, PEERS[name]), criterion)
    # Else a GPU's peak is gone when the update ends.
    fairseq_trainer.keep_peak(trainer)
    return trainer


def released(task: Any) -> Any:
    from tests.released import released_class

    name = "label_smoothed_cross_entropy_r3f"
    return released_class(name, "LabelSmoothedCrossEntropyR3FCriterion")(
        task, False, 0.1, 1e-5, 0.01, "normal"
    )


def batch() -> dict[str, Any]:
    torch.manual_seed(2)
    source = torch.randint(4, VOCABULARY, (ROWS, SOURCE))
    target = torch.randint(4, VOCABULARY, (ROWS, TARGET))
    return {
        "id": torch.arange(ROWS),
        "nsentences": ROWS,
        "ntokens": target.numel(),
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full((ROWS,), SOURCE),
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
    }


def step(name: str, folder: Path) -> Callable[[], None]:
    """One update of the peer ``name``."""
    return partial(fairseq_trainer.one_update, trainer_of(name, folder), [batch()])


def parse(argv: Any = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=PEERS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Any = None) -> None:
    args = parse(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dictionaries(folder)
        if args.memory_of:
            import rxf  # noqa: F401  # before the baseline: imports are nobody's update

            baseline = harness.resident_now()
            print(json.dumps(harness.peak_memory(step(args.memory_of, folder), baseline)))
            return
        memory = {peer: harness.in_own_process(MODULE, ["--memory-of", peer]) for peer in PEERS}
        seconds = harness.take_turns({peer: step(peer, folder) for peer in PEERS}, args.rounds)
    text, figures = harness.table(seconds, memory)
    print(f"batch {ROWS} x {SOURCE} to {ROWS} x {TARGET}, vocabulary {VOCABULARY}\n\n{text}")
    harness.save(args.json, f"python -m {MODULE} --rounds {args.rounds}", figures)


if __name__ == "__main__":
    main()
