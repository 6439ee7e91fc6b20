"""One step of an optimizer on 100 million parameters, gradients being there.

    python -m benchmarks.optimizer_step [--layers 12] [--rounds 9]

The parameters have the shapes of a RoBERTa-base with a smaller vocabulary.  Peers: torch's
AdamW as a list of operations (foreach) and as one kernel (fused), fairseq's Adam, and what
the fix fused-adam makes of it, RecAdam as it runs between two lines of the log, and as it runs
when each update is logged (the distance to the anchor is then computed), the released RecAdam
restated, and component-wise clipping.
"""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import torch
from torch import Tensor, nn

import rxf  # noqa: F401
from benchmarks import harness
from rxf.fairseq_fixes.fused_adam import TorchFusedAdam
from rxf.methods.cwgnc.optimizer import CwgncAdam, CwgncAdamConfig
from rxf.methods.recadam.optimizer import RecAdam, RecAdamConfig
from rxf.parameters.ledger import Ledger

LR, WIDTH, VOCABULARY = 2e-5, 768, 20_000


def shapes(layers: int) -> list[tuple[int, ...]]:
    """Of a RoBERTa-base: embeddings, then each layer's matrices, biases and norms."""
    layer = [(WIDTH, WIDTH), (WIDTH,)] * 4 + [(WIDTH,)] * 4
    layer += [(4 * WIDTH, WIDTH), (4 * WIDTH,), (WIDTH, 4 * WIDTH), (WIDTH,)]
    return [(VOCABULARY, WIDTH), (514, WIDTH), *layer * layers]


class Parameters(nn.Module):
    """Parameters of some shapes that share their gradients with other such modules."""

    def __init__(self, start: list[Tensor], gradients: list[Tensor]) -> None:
        super().__init__()
        self.all = nn.ParameterList(tensor.clone() for tensor in start)
        for parameter, gradient in zip(self.all, gradients, strict=True):
            parameter.grad = gradient


class ReleasedRecAdam(torch.optim.Optimizer):
    """The published update, tensor by tensor, operation by operation."""

    def __init__(self, parameters: Any, anchors: list[Tensor], curve: RecAdam) -> None:
        super().__init__(parameters, {"lr": LR})
        self.anchors = anchors
        self.curve = curve

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for parameter, anchor in zip(self.param_groups[0]["params"], self.anchors, strict=True):
            state = self.state[parameter]
            if not state:
                state["step"] = 0
                state["m"], state["v"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
            self._update(parameter, anchor, state)

    def _update(self, parameter: Tensor, anchor: Tensor, state: dict[str, Any]) -> None:
        t, m, v = state["step"], state["m"], state["v"]
        m.mul_(0.9).add_(parameter.grad, alpha=0.1)
        v.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
        rates = self.curve.rates(t)
        step_size = LR * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
        parameter.addcdiv_(m, v.sqrt().add_(1e-8), value=-step_size * rates.adam)
        parameter.add_(parameter - anchor, alpha=-LR * rates.pull)


def _training(model: nn.Module, tensors: list[Tensor], log_interval: int) -> Any:
    ledger = Ledger.match(tensors, model)
    facts: dict[str, Any] = {"ledger": ledger, "model": model, "model_cfg": None, "max_lr": LR}
    return SimpleNamespace(**facts, log_interval=log_interval, pretrained_files=[], save_dir="")


def recadam(model: nn.Module, anchors: list[Tensor], log_interval: int = 10**9) -> RecAdam:
    tensors: list[Tensor] = list(model.parameters())
    made = RecAdam(RecAdamConfig(), tensors, _training(model, tensors, log_interval))
    made.anchor = SimpleNamespace(tensors=dict(enumerate(anchors)))  # type: ignore[assignment]
    return made


def cwgnc(model: nn.Module, group: str) -> CwgncAdam:
    tensors: list[Tensor] = list(model.parameters())
    cfg = CwgncAdamConfig(component_clip_group=group)  # type: ignore[arg-type]
    return CwgncAdam(cfg, tensors, _training(model, tensors, 10**9))


def peers(layers: int) -> dict[str, Callable[[], Any]]:
    """Name -> one step.  All peers share gradients and anchors, which no step changes much."""
    from fairseq.optim.adam import Adam

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    start = [0.02 * torch.randn(shape, device=device) for shape in shapes(layers)]
    gradients = [1e-5 * torch.randn(shape, device=device) for shape in shapes(layers)]

    def model() -> Parameters:
        return Parameters(start, gradients)

    curve = recadam(model(), start)
    made: dict[str, Any] = {
        "torch AdamW foreach": torch.optim.AdamW(model().parameters(), LR, foreach=True),
        "torch AdamW fused": torch.optim.AdamW(model().parameters(), LR, fused=True),
        "fairseq Adam": Adam(model().parameters(), LR),
        "rxf adam (fused)": TorchFusedAdam(model().parameters(), LR),
        "RecAdam as released": ReleasedRecAdam(model().parameters(), start, curve),
        "rxf recadam": recadam(model(), start),
        "rxf recadam, logged": recadam(model(), start, log_interval=1),
        "rxf cwgnc_adam": cwgnc(model(), "tensor"),
    }
    return {name: optimizer.step for name, optimizer in made.items()}


def main(argv: Any = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    count = sum(torch.Size(shape).numel() for shape in shapes(args.layers))
    print(f"{count:,} parameters")
    text, figures = harness.table(harness.take_turns(peers(args.layers), args.rounds))
    print(text)
    command = f"python -m benchmarks.optimizer_step --layers {args.layers} --rounds {args.rounds}"
    harness.save(args.json, command, {"parameters": count, **figures})


if __name__ == "__main__":
    main()
