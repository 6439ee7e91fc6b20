"""The symmetric KL of two branches' logits over a vocabulary, with both gradients.

    python -m benchmarks.symmetric_kl [--rows 2048] [--vocabulary 50265] [--dtype fp16]

Peers: torch's operations, the same through torch.compile, and on a GPU Triton's kernel, as
training calls it (forward and backward pass, which both read the logits) and as the fused loss
does (value and gradients at once).  A GPU's figures come with the share of its copy bandwidth
that they use: the bytes that have to move (the docstring of ``rxf/divergence/triton_kl.py``),
over the seconds, over what a copy of one large tensor reaches in the same run.
"""

import argparse
import functools
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional
from unittest import mock

import torch
from torch import Tensor

from benchmarks import harness
from rxf.divergence import symmetric_kl
from rxf.divergence.fast_path import SWITCH, triton_kernel

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
QUICK = {"rows": 64, "vocabulary": 5003, "rounds": 3}
# How often either branch's logits, or as many gradients, are read and written at least.
PASSES = {"kernel": 2 * (1 + 1 + 1), "kernel at once": 2 * (1 + 1)}
NO_GPU = "not measured: no GPU"

Step = Callable[[], None]


def forward_and_backward(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Sequence[Tensor]
) -> None:
    for branch in logits:
        branch.grad = None
    loss(logits[0], logits[1]).backward()


def by_torch(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """With the kernel switched off, whatever the environment says."""
    with mock.patch.dict(os.environ, {SWITCH: "off"}):
        return symmetric_kl(logits_p, logits_q)


def operations(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """The operations of ``symmetric_kl`` alone: torch.compile cannot look into an environment."""
    log_p = torch.log_softmax(logits_p, dim=-1, dtype=torch.float32)
    log_q = torch.log_softmax(logits_q, dim=-1, dtype=torch.float32)
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()


def at_once(kernel: Any, logits: Sequence[Tensor], written: Sequence[Tensor]) -> None:
    """Value and gradients in one launch, as the fused loss has them."""
    divergence = logits[0].new_empty(logits[0].size(0), dtype=torch.float32)
    p, q = (branch.detach() for branch in logits)
    kernel.walk(p, q, divergence=divergence, grad_p=written[0], grad_q=written[1])


def peers(logits: Sequence[Tensor]) -> tuple[dict[str, Step], dict[str, str]]:
    """Name -> one step, and name -> why there is none."""
    steps: dict[str, Step] = {"torch": functools.partial(forward_and_backward, by_torch, logits)}
    left_out = {}
    compiled = functools.partial(forward_and_backward, torch.compile(operations), logits)
    try:
        compiled()
        steps["torch.compile"] = compiled
    # A compiler that is missing or too old shows as all kinds of errors.
    except Exception as error:
        left_out["torch.compile"] = f"not measured: {type(error).__name__}"
    kernel = triton_kernel(*logits, vocabulary=logits[0].size(1))
    if kernel is None:
        reason = "not measured: Triton is not used here" if logits[0].is_cuda else NO_GPU
        return steps, {**left_out, **dict.fromkeys(PASSES, reason)}
    written = [torch.empty_like(branch) for branch in logits]
    steps["kernel"] = functools.partial(forward_and_backward, symmetric_kl, logits)
    steps["kernel at once"] = functools.partial(at_once, kernel, logits, written)
    return steps, left_out


def copy_bandwidth(rounds: int) -> float:
    """Bytes per second, read and written, of copying 2 GiB on the GPU."""
    source = torch.zeros(2**31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds = harness.take_turns({"copy": lambda: target.copy_(source) and None}, rounds)
    return 2 * source.numel() / statistics.median(seconds["copy"])


def shares(figures: Mapping[str, Any], one_branch: int, bandwidth: float) -> dict[str, float]:
    """Of the copy bandwidth, by kernel; ``one_branch`` is the bytes of its logits."""
    return {
        name: passes * one_branch / figures[name]["seconds"] / bandwidth
        for name, passes in PASSES.items()
        if name in figures
    }


def make_logits(args: argparse.Namespace) -> list[Tensor]:
    """Of two branches that are as close as a trained model's under noise."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    clean = 3 * torch.randn(args.rows, args.vocabulary, device=device)
    noised = clean + 0.1 * torch.randn_like(clean)
    return [branch.to(DTYPES[args.dtype]).requires_grad_() for branch in (clean, noised)]


def parse(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=50265)
    parser.add_argument("--dtype", choices=DTYPES, default="fp16")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help=f"small: {QUICK}")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if args.quick:
        vars(args).update(QUICK)
    return args


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse(argv)
    logits = make_logits(args)
    steps, left_out = peers(logits)
    text, figures = harness.table(harness.take_turns(steps, args.rounds))
    print(f"{args.rows} rows x {args.vocabulary} words, {args.dtype}\n\n{text}")
    for name, reason in left_out.items():
        print(f"| {name} | {reason} | | | |")

    one_branch = logits[0].numel() * logits[0].element_size()
    figures.update(left_out, bytes_of_one_branch=one_branch, share_of_copy_bandwidth=NO_GPU)
    if logits[0].is_cuda:
        bandwidth = copy_bandwidth(args.rounds)
        used = shares(figures, one_branch, bandwidth)
        figures.update(copy_bandwidth=bandwidth, share_of_copy_bandwidth=used)
        print(f"\ncopying moves {bandwidth / 1e9:.0f} GB/s")
        for name, share in used.items():
            print(f"{name}: {share:.0%} of that")
    else:
        print(f"\nshare of the copy bandwidth: {NO_GPU}")
    sizes = f"--rows={args.rows} --vocabulary={args.vocabulary} --dtype={args.dtype}"
    command = f"python -m benchmarks.symmetric_kl {sizes} --rounds={args.rounds}"
    harness.save(args.json, command, figures)


if __name__ == "__main__":
    main()
