"""One update of a RoBERTa through fairseq's trainer: plain fine-tuning and every method.

    python -m benchmarks.method_step [--rounds 7] [--json FILE]

4 layers of RoBERTa-base with 10,000 words; 8 sentences of 128 tokens in two classes, none
padded; fp32, dropout 0.1, fairseq's Adam where the method has no optimizer of its own.  Every
method of the registry takes part, with its default settings, from the same pre-trained file.  A
method that is a course of runs is in the table without figures: its updates are plain ones.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

import rxf
from benchmarks import fairseq_trainer, harness
from rxf.methods import registry
from rxf.methods.registry import PLAIN

MODULE = "benchmarks.method_step"


class Size(NamedTuple):
    layers: int = 4
    width: int = 768
    vocabulary: int = 10_000
    rows: int = 8
    tokens: int = 128


QUICK = Size(layers=2, width=64, vocabulary=1000, rows=4, tokens=16)
TRAINED = {m.name: m for m in (PLAIN, *registry.methods()) if m.sentences is not None}
RECIPES = [method for method in registry.methods() if method.sentences is None and method.recipe]


def write_data(folder: Path, size: Size) -> None:
    """Random sentences, as many as one batch takes."""
    lengths = [size.tokens] * size.rows
    fairseq_trainer.write_sentences(folder, lengths, size.vocabulary - 4)


def flags(name: str, folder: Path, size: Size) -> list[str]:
    values: dict[str, Any] = {
        "user_dir": rxf.__path__[0],
        "task": "sentence_prediction",
        "num_classes": 2,
        "init_token": 0,
        "arch": "roberta",
        "encoder_layers": size.layers,
        "encoder_embed_dim": size.width,
        "encoder_ffn_embed_dim": 4 * size.width,
        "encoder_attention_heads": size.width // 64,
        "max_positions": 512,
        "batch_size": size.rows,
        "required_batch_size_multiple": 1,
        "num_workers": 0,
        "optimizer": "adam",
        "lr": 1e-6,
        "lr_scheduler": "fixed",
        "max_update": 100_000,
        **registry.flags(TRAINED[name], "sentences"),
    }
    start = folder / "start.pt"
    if start.exists():
        values |= {"finetune_from_model": start, "save_dir": folder / "none"}
    if not torch.cuda.is_available():
        values["cpu"] = True
    return [str(folder / "data"), *fairseq_trainer.switches(values)]


def trainer_of(name: str, folder: Path, size: Size) -> Any:
    """At the start of its first epoch, all weights being loaded."""
    from fairseq import checkpoint_utils

    trainer = fairseq_trainer.build_trainer(flags(name, folder, size))
    checkpoint_utils.load_checkpoint(trainer.cfg.checkpoint, trainer)
    trainer.begin_epoch(1)
    return trainer


def write_start(folder: Path, size: Size) -> int:
    """The file that all start from; returns how many parameters it holds."""
    trainer = trainer_of("plain", folder, size)
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(folder / "start.pt"), {})
    return sum(parameter.numel() for parameter in trainer.get_model().parameters())


def step(name: str, folder: Path, size: Size) -> Callable[[], None]:
    """One update by the method ``name``."""
    trainer = trainer_of(name, folder, size)
    # Else a GPU's peak is gone when the update ends.
    fairseq_trainer.keep_peak(trainer)
    data = trainer.task.dataset("train")
    samples = [data.collater([data[row] for row in range(size.rows)])]
    assert samples[0]["net_input"]["src_tokens"].shape == (size.rows, size.tokens)

    return partial(fairseq_trainer.one_update, trainer, samples)


def with_counts(text: str) -> str:
    """The harness's table with what the registry says that each method costs."""
    head, line, *peers = text.splitlines()
    lines = [f"{head} extra forwards | extra backwards | extra memory |", f"{line}---|---|---|"]
    for peer in peers:
        name = peer.split("|")[1].strip()
        cost = TRAINED[name].cost
        title = peer.replace(f"| {name} |", f"| {TRAINED[name].title} |", 1)
        lines.append(f"{title} {cost.forwards} | {cost.backwards} | {cost.memory} |")
    for method in RECIPES:
        cost = method.cost
        told = (
            f"| {method.title} | not timed: another stage (`{method.recipe}`), then plain | | | |"
        )
        lines.append(f"{told} {cost.forwards} | {cost.backwards} | {cost.memory} |")
    return "\n".join(lines)


def measured(folder: Path, size: Size, args: argparse.Namespace) -> tuple[str, Mapping[str, Any]]:
    """The table and its figures."""
    quick = ["--quick"] if args.quick else []
    memory = {
        name: harness.in_own_process(MODULE, ["--memory-of", name, "--in", str(folder), *quick])
        for name in TRAINED
    }
    peers = {name: step(name, folder, size) for name in TRAINED}
    text, figures = harness.table(harness.take_turns(peers, args.rounds), memory)
    return with_counts(text), figures


def parse(argv: Any = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    parser.add_argument("--memory-of", choices=TRAINED, help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def memory_of(name: str, folder: Path, size: Size) -> float:
    """MiB of one update."""
    # What is imported by the way is nobody's update.
    import fairseq.trainer  # noqa: F401

    baseline = harness.resident_now()
    return harness.peak_memory(step(name, folder, size), baseline)


def main(argv: Optional[list[str]] = None) -> None:
    args = parse(argv)
    size = QUICK if args.quick else Size()
    if args.memory_of:
        print(json.dumps(memory_of(args.memory_of, args.folder, size)))
        return
    folder = Path(tempfile.mkdtemp())
    try:
        write_data(folder / "data", size)
        parameters = write_start(folder, size)
        text, figures = measured(folder, size, args)
    finally:
        shutil.rmtree(folder)
    shape = f"{size.layers} layers of {size.width}, {parameters:,} parameters"
    print(f"{shape}, {size.rows} x {size.tokens} tokens, {size.vocabulary} words\n\n{text}")
    command = f"python -m {MODULE} --rounds {args.rounds}" + (" --quick" if args.quick else "")
    harness.save(args.json, command, {"parameters": parameters, **figures})


if __name__ == "__main__":
    main()
