"""The generation loss alone, from decoder features to the gradients of features and projection.

    python -m benchmarks.generation_loss [--positions 512] [--vocabulary 50265] [--width 768]

Peers: fairseq's label-smoothed cross-entropy (one branch, the price of plain fine-tuning),
the same loss with the divergence of two branches as its released criterion computes it, and
ours.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Callable

import torch
import torch.nn.functional as F

from benchmarks import harness
from rxf.divergence import fused_linear_ce_kl

PAD = 1
SMOOTHING, KL_WEIGHT = 0.1, 0.01


def stock(clean: Any, noised: Any, weight: Any, targets: Any) -> torch.Tensor:
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    log_p = F.log_softmax(F.linear(clean, weight), dim=-1, dtype=torch.float32)
    loss: torch.Tensor = label_smoothed_nll_loss(log_p, targets, SMOOTHING, ignore_index=PAD)[0]
    return loss


def released(clean: Any, noised: Any, weight: Any, targets: Any) -> torch.Tensor:
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    z, z_noised = F.linear(clean, weight), F.linear(noised, weight)
    log_p = F.log_softmax(z, dim=-1, dtype=torch.float32)
    loss = label_smoothed_nll_loss(log_p, targets, SMOOTHING, ignore_index=PAD)[0]
    divergence = torch.zeros(())
    for one, other in ((z_noised, z), (z, z_noised)):
        log_one = F.log_softmax(one, dim=-1, dtype=torch.float32)
        p_other = F.softmax(other, dim=-1, dtype=torch.float32)
        divergence = divergence + F.kl_div(log_one, p_other, reduction="sum")
    return loss + KL_WEIGHT * divergence


def fused(clean: Any, noised: Any, weight: Any, targets: Any) -> torch.Tensor:
    return fused_linear_ce_kl(
        clean,
        noised,
        weight,
        targets,
        ignore_index=PAD,
        label_smoothing=SMOOTHING,
        kl_weight=KL_WEIGHT,
    ).loss


def fused_by_mkl(clean: Any, noised: Any, weight: Any, targets: Any) -> torch.Tensor:
    with torch.backends.mkldnn.flags(enabled=False):
        return fused(clean, noised, weight, targets)


PEERS = {
    "fairseq plain": stock,
    "fairseq R3F": released,
    "rxf R3F": fused,
    "rxf R3F without oneDNN": fused_by_mkl,
}


def step(loss: Any, args: argparse.Namespace) -> Callable[[], None]:
    """One forward and backward pass on random features."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    shape = (args.positions, args.width)
    clean = torch.randn(shape, device=device)
    noised = clean + 1e-3 * torch.randn(shape, device=device)
    weight = 0.03 * torch.randn(args.vocabulary, args.width, device=device)
    leaves = [tensor.requires_grad_() for tensor in (clean, noised, weight)]
    targets = torch.randint(4, args.vocabulary, (args.positions,), device=device)

    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss(*leaves, targets).backward()

    return run


def parse(argv: Any = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, default=512)
    parser.add_argument("--vocabulary", type=int, default=50265)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", choices=PEERS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Any = None) -> None:
    args = parse(argv)
    if args.memory_of:
        baseline = harness.resident_now()
        print(json.dumps(harness.peak_memory(step(PEERS[args.memory_of], args), baseline)))
        return
    sizes = [f"--{name}={getattr(args, name)}" for name in ("positions", "vocabulary", "width")]
    module = "benchmarks.generation_loss"
    memory = {name: harness.in_own_process(module, [*sizes, "--memory-of", name]) for name in PEERS}
    seconds = harness.take_turns({n: step(p, args) for n, p in PEERS.items()}, args.rounds)
    text, figures = harness.table(seconds, memory)
    print(f"{args.positions} positions x {args.vocabulary}, width {args.width}\n\n{text}")
    command = ["python -m", module, *sizes, f"--rounds={args.rounds}"]
    harness.save(args.json, " ".join(command), figures)


if __name__ == "__main__":
    main()
