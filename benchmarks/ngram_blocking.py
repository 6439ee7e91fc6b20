"""`--no-repeat-ngram-size` without fairseq's CUDA extension: its Python path and ours.

    python -m benchmarks.ngram_blocking [--json FILE]

Size 3, batch 8 x beam 4, 50,265 words, every tenth step from 10 to 140, random tokens of 200
types.  The released path blocks nothing; it is here for its time.
"""

import argparse
from pathlib import Path
from typing import Any, Callable

import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock

from benchmarks import harness

SENTENCES, BEAM, VOCABULARY, LENGTH = 8, 4, 50265, 142


def steps(blocker: Callable[..., Any]) -> Callable[[], None]:
    """One call at each step."""
    torch.manual_seed(0)
    tokens = torch.randint(4, 204, (SENTENCES * BEAM, LENGTH))
    lprobs = torch.randn(SENTENCES * BEAM, VOCABULARY)
    module = NGramRepeatBlock(3, use_extension=False)

    def run() -> None:
        for step in range(10, 141, 10):
            blocker(module, tokens, lprobs, SENTENCES, BEAM, step)

    return run


def main(argv: Any = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    released = NGramRepeatBlock._no_repeat_ngram
    import rxf  # noqa: F401  # puts the fix in place

    ours = NGramRepeatBlock._no_repeat_ngram
    if ours is released:
        raise SystemExit("the fix ngram-blocking is off: unset RXF_FIXES")
    peers = {"fairseq": steps(released), "rxf": steps(ours)}
    text, figures = harness.table(harness.take_turns(peers, args.rounds))
    print(f"14 steps of {SENTENCES} x {BEAM} hypotheses\n\n{text}")
    harness.save(args.json, f"python -m benchmarks.ngram_blocking --rounds {args.rounds}", figures)


if __name__ == "__main__":
    main()
