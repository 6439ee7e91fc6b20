"""Every method of the registry on tiny data, through fairseq-train and in process."""

import contextlib
import copy
import functools
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.modules import FairseqDropout
from fairseq.trainer import Trainer
from torch import Tensor, nn

import rxf  # noqa: F401
from rxf.methods import registry
from rxf.methods.registry import PLAIN, Method
from tests.support import (
    fork_fairseq_train,
    load_checkpoint,
    train_flags,
    translation_flags,
    used_parameters,
)

LR = 1e-2


class Case(NamedTuple):
    """A method, and "sentences" or "generation"."""

    method: Method
    kind: str

    @property
    def settings(self) -> dict[str, Any]:
        """Flag -> value that turn it on, so that tiny data shows it at work."""
        return {**registry.flags(self.method, self.kind), **self.method.tiny}

    @property
    def steady(self) -> dict[str, Any]:
        """The same with an optimizer, and sentences, that leave an update no jumps.

        Adam divides by the gradient's size, which makes its sign out of one that is almost
        0; SGD lets scales be seen.  The flag --left-pad-source turns it off: sentences that
        start at position 0, as those of RoBERTa do, have the same noise however far they are
        padded.  Sums over sentences are divided by their number.
        """
        by_optimizer = "optimizer" in getattr(self.method, self.kind)
        optimizer = {"adam_eps": 1e-3} if by_optimizer else {"optimizer": "sgd", "lr": 0.1}
        alike = {"sentence_avg": True, "left_pad_source": True}
        return {**self.settings, **optimizer, **(alike if self.kind == "generation" else {})}


class Data(NamedTuple):
    """A data set of one kind, and a pre-trained model for it."""

    kind: str
    folder: Path
    pretrained: Path

    def flags(self, save_dir: Path, **settings: Any) -> list[str]:
        """Of a training from the pre-trained model; see :func:`tests.support.train_flags`."""
        of_kind = train_flags if self.kind == "sentences" else translation_flags
        settings = {"finetune_from_model": self.pretrained, "lr": LR, **settings}
        return of_kind(self.folder, save_dir, **settings)


_ALL = [Case(m, k) for m in (PLAIN, *registry.methods()) for k in ("sentences", "generation")]
_ALL = [case for case in _ALL if getattr(*case) is not None]


def params(cases: list[Case]) -> Any:
    """Parametrises a test with ``case`` over these."""
    ids = [f"{case.method.name}-{case.kind}" for case in cases]
    return pytest.mark.parametrize("case", cases, ids=ids)


CASES = params(_ALL)
SENTENCES = params([case for case in _ALL if case.kind == "sentences"])
AT_PLAIN = params([c for c in _ALL if c.method is PLAIN or c.method.plain_at is not None])
# A recipe may train with the flags of plain fine-tuning.
DIFFERENT = params([c for c in _ALL if c.settings != Case(PLAIN, c.kind).settings])


def pretrained_model(flags: list[str], folder: Path) -> Path:
    """A tiny model after the one update that ``flags`` ask for, without a classification head.

    Args:
        flags: of a training that saves to ``folder``.
        folder: where ``model.pt`` goes.
    """
    fork_fairseq_train(*flags)
    state = load_checkpoint(folder / "checkpoint_last.pt")
    heads = [name for name in state["model"] if name.startswith("classification_heads.")]
    for name in heads:
        del state["model"][name]
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


@functools.cache
def _config(flags: tuple[str, ...]) -> Any:
    # The larger part of what it takes to build a tiny model.
    parser = options.get_training_parser()
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, list(flags)))


def trainer_for(
    data: Data, settings: dict[str, Any], /, dropout: bool = True, **changes: Any
) -> Trainer:
    """fairseq's trainer in process, its weights loaded, at the start of the first epoch.

    Args:
        data: of the kind that the settings are for.
        settings: flag -> value, as for :func:`tests.support.train_flags`.
        dropout: False turns it off.
        changes: name -> value of what is set in the configuration that the flags come to,
            which is not made anew for them.
    """
    cfg = copy.deepcopy(_config(tuple(data.flags(Path("/nowhere"), **settings))))
    for group in cfg.values():
        for name in changes.keys() & _names(group):
            setattr(group, name, changes[name])
    torch.manual_seed(1)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    for module in model.modules():
        if isinstance(module, (FairseqDropout, nn.Dropout)) and not dropout:
            module.p = 0.0
    trainer.begin_epoch(1)
    return trainer


def _names(group: Any) -> set[str]:
    return set(vars(group) if isinstance(group, Namespace) else group or ())


def rows(trainer: Trainer, first: int, last: int) -> dict[str, Any]:
    """Training rows ``first`` to ``last``, that one not included, collated."""
    data = trainer.task.dataset("train")
    return data.collater([data[row] for row in range(first, last)])


def parameters(trainer: Trainer) -> dict[str, nn.Parameter]:
    """Of the model and of the criterion."""
    named = dict(trainer.get_model().named_parameters())
    own = trainer.get_criterion().named_parameters()
    return used_parameters({**named, **{f"criterion.{name}": value for name, value in own}})


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """What the last backward passes left, by name; a parameter without one is left out."""
    found = {name: value.grad for name, value in parameters(trainer).items()}
    return {name: grad.clone() for name, grad in found.items() if grad is not None}


def stock_criterion(trainer: Trainer, kind: str) -> Any:
    """fairseq's own criterion with the settings of the trainer's."""
    cfg, task = trainer.cfg.criterion, trainer.task
    if kind == "sentences":
        return SentencePredictionCriterion(cfg, task)
    return LabelSmoothedCrossEntropyCriterion(task, cfg.sentence_avg, cfg.label_smoothing)


def step(
    trainer: Trainer, sample: dict[str, Any], criterion: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one batch in training, neither divided by the sample size."""
    trainer.zero_grad()
    trainer.model.train()
    criterion.train()
    torch.manual_seed(3)
    loss, _, _ = trainer.task.train_step(sample, trainer.model, criterion, trainer.optimizer, 0)
    return loss.detach(), gradients(trainer)


def losses_in_validation(
    trainer: Trainer, sample: dict[str, Any], criterion: Any
) -> tuple[Tensor, int]:
    """Loss, a sum, and sample size of one batch in validation."""
    trainer.model.eval()
    criterion.eval()
    loss, sample_size, _ = trainer.task.valid_step(sample, trainer.model, criterion)
    return loss, sample_size


@contextlib.contextmanager
def rows_of_passes(model: nn.Module) -> Iterator[dict[str, list[int]]]:
    """First layer of the encoder, and of the decoder -> the rows of each call of it."""
    seen: dict[str, list[int]] = {}
    handles = []
    for name, module in model.named_modules():
        if name.endswith("layers.0"):
            calls = seen.setdefault(name, [])
            # T x B x C
            handles.append(
                module.register_forward_pre_hook(lambda _, args, c=calls: c.append(args[0].size(1)))
            )
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
