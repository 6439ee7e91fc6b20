"""What the tests of ``--amp`` share: its optimizer, with a scaler that works on a CPU."""

from pathlib import Path
from typing import Any

import torch
from fairseq import optim, options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import AMPOptimizer
from torch import Tensor

from tests.support import train_flags

PLUGIN = Path(__file__).parent / "cpu_scaler_plugin"
SCALE = 128.0
GRADIENT = torch.tensor([1.0, 2.0, 3.0])


def _configuration(**settings: Any) -> Any:
    flags = train_flags(Path("unused"), Path("unused"), amp=True, **settings)
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=flags)
    return convert_namespace_to_omegaconf(args)


def new_parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(3))


def amp_optimizer(scale: float = SCALE, interval: int = 2000, **settings: Any) -> AMPOptimizer:
    """fairseq's, of one parameter, with a scaler for the CPU.

    Args:
        scale: that it starts with.
        interval: updates until the scale grows.
        settings: of :func:`train_flags`.
    """
    made = AMPOptimizer.build_optimizer(_configuration(**settings), [new_parameter()])
    made._grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=interval)
    return made


def plain_optimizer(**settings: Any) -> optim.FairseqOptimizer:
    """The one that :func:`amp_optimizer` has inside, with a parameter of its own."""
    return optim.build_optimizer(_configuration(**settings).optimizer, [new_parameter()])


def parameter_of(optimizer: optim.FairseqOptimizer) -> Tensor:
    return next(iter(optimizer.params))


def backward(optimizer: optim.FairseqOptimizer, gradient: Tensor = GRADIENT) -> None:
    """Leave ``gradient``, times the loss scale if there is one, at the parameter."""
    optimizer.zero_grad()
    optimizer.backward((parameter_of(optimizer) * gradient).sum())


def gradients_stepped_on(optimizer: AMPOptimizer) -> list[Tensor]:
    """A list to which every step of torch's optimizer adds the gradient that it sees."""
    seen: list[Tensor] = []
    inner = optimizer.optimizer
    step = inner.step

    def recording(*args: Any, **kwargs: Any) -> Any:
        gradient = parameter_of(optimizer).grad
        assert gradient is not None
        seen.append(gradient.clone())
        return step(*args, **kwargs)

    inner.step = recording
    return seen
