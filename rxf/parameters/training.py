"""What an optimizer may know of the training around it: the one place that asks the trainer.

fairseq builds an optimizer from a configuration and a bare list of tensors, in the middle
of loading a checkpoint.  While it does, :func:`building` gives the rest: the names of these
tensors, the files that the weights come from, how often the log is written.

An optimizer that wants to know more than that defines, on its torch optimizer:

* ``start_fresh()``: called once before training, unless a state was loaded into it;
* ``before_epoch(epoch)``: called at the start of each epoch, the model being complete.
"""

import contextlib
import os
import random
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Callable, Optional

import torch
from fairseq import utils
from fairseq.data import data_utils
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from torch import nn

from rxf.errors import UserError
from rxf.fairseq_fixes.patching import wrap, wrap_trainer_reading
from rxf.forward import evaluating
from rxf.parameters.ledger import Ledger

__all__ = [
    "Training",
    "all_reduce",
    "building",
    "evaluated_batches",
    "install",
    "keep_initial_weights",
    "pretrained_files",
    "refuse_unknown_layouts",
]

_DEFAULT_RESTORE_FILE = "checkpoint_last.pt"
# The trainer that builds its optimizer now.
_builder: Optional[Trainer] = None


class Training:
    """A trainer, as far as optimizers are concerned.

    Attributes:
        ledger: of the tensors that the optimizer was given.
        model: out of its wrappers.
        model_cfg: fairseq's configuration of it.
        max_lr: the highest learning rate that the flags name.
        log_interval: updates from one line of the log to the next.
        save_dir: the run's folder.
        pretrained_files: (flag, path) of the files that the run's weights come from.
    """

    def __init__(self, trainer: Trainer, tensors: list[torch.Tensor]) -> None:
        instead = f"use --optimizer adam in place of {trainer.cfg.optimizer._name}"
        refuse_unknown_layouts(trainer.cfg, instead)
        self._trainer = trainer
        self.model: nn.Module = trainer.get_model()
        self.ledger = Ledger.match(tensors, self.model, trainer.get_criterion())
        cfg = trainer.cfg
        self.model_cfg = cfg.model
        self.max_lr = _max_lr(cfg)
        self.log_interval: int = cfg.common.log_interval
        self.save_dir: str = cfg.checkpoint.save_dir
        self.pretrained_files = pretrained_files(cfg.checkpoint)

    def is_model(self, module: nn.Module) -> bool:
        """Whether ``module`` is the model in the trainer's wrappers, if any."""
        return module is self._trainer.model

    def all_reduce_max(self, values: torch.Tensor) -> torch.Tensor:
        """The largest of each element over all data-parallel ranks, in place."""
        return all_reduce(self._trainer, values, "max")

    def all_reduce_sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum of each element over all data-parallel ranks, in place."""
        return all_reduce(self._trainer, values, "sum")

    @property
    def device(self) -> torch.device:
        return self._trainer.device

    @property
    def writes_files(self) -> bool:
        """Whether this is the rank that saves, in a run that saves at all."""
        saves = not self._trainer.cfg.checkpoint.no_save
        return bool(saves and self._trainer.is_data_parallel_master)

    def gradients_of_batches(self, count: int, epoch: int) -> Generator[float, None, None]:
        """Backpropagate the loss of training batches, one after another.

        Dropout is off, the criterion computes what it computes in validation, and nothing
        is reduced over ranks: each rank takes its own shard of the batches.  When all have
        come, or the generator is closed, training goes on as if there had been none of it.

        Args:
            count: how many batches; fewer come where the data has fewer.
            epoch: whose order of the data it is.

        Yields:
            what ``parameter.grad`` of the ledger's entries must be divided by to be the
            gradient of the batch's mean loss; None is a gradient of zero.
        """
        trainer = self._trainer
        common = trainer.cfg.common
        parameters = [entry.parameter for entry in self.ledger.entries]
        scale = float(common.fp16_init_scale) if common.fp16 or common.amp else 1.0
        with contextlib.closing(evaluated_batches(trainer, epoch, count)) as samples:
            for sample in samples:
                yield scale * _backpropagate(trainer, parameters, sample, scale)


def evaluated_batches(trainer: Trainer, epoch: int, count: int) -> Generator[Any, None, None]:
    """Training batches, one after another, beside a training that does not notice.

    Within, model and criterion are in eval mode, and random numbers are those of ``--seed``.
    Each rank gets its own shard.  When all have come, or the generator is closed, training
    goes on as if there had been none of it: modes, gradients, random numbers.

    Args:
        trainer: of the training.
        epoch: whose order of the data it is.
        count: how many batches, on each rank; fewer come where the data has fewer.

    Yields:
        samples as a criterion gets them, on the trainer's device.
    """
    dataset = trainer.cfg.dataset
    model, criterion = trainer.get_model(), trainer.get_criterion()
    parameters = [*model.parameters(), *criterion.parameters()]
    with _undisturbed(trainer, parameters), evaluating(model, criterion):
        batches = trainer.get_train_iterator(
            epoch, load_dataset=False, disable_iterator_cache=True
        ).next_epoch_itr(
            shuffle=epoch > dataset.curriculum,
            fix_batches_to_gpus=trainer.cfg.distributed_training.fix_batches_to_gpus,
        )
        # A thread that reads ahead would otherwise go on to do so during training.
        for batch in batches.take(count):
            # Empty ones make the ranks' shards equally long.
            if batch:
                yield trainer._prepare_sample(batch)[0]


def all_reduce(trainer: Trainer, values: torch.Tensor, operation: str) -> torch.Tensor:
    """``sum`` or ``max`` of each element over all data-parallel ranks, in place."""
    if trainer.data_parallel_world_size > 1:
        from fairseq.distributed import utils as distributed_utils

        group = trainer.data_parallel_process_group
        distributed_utils.all_reduce(values, group=group, op=operation)
    return values


def _backpropagate(
    trainer: Trainer, parameters: Sequence[nn.Parameter], sample: Any, scale: float
) -> float:
    """Set the gradients to those of ``scale`` times the loss; its sample size."""
    for parameter in parameters:
        parameter.grad = None
    # As fairseq's tasks do; on the CPU that is fp32.
    half = torch.autocast("cuda", enabled=bool(trainer.cfg.common.amp) and trainer.cuda)
    with torch.enable_grad(), metrics.aggregate(new_root=True):
        with half:
            loss, sample_size, _ = trainer.get_criterion()(trainer.get_model(), sample)
        (loss * scale).backward()
    return float(sample_size) or 1.0


@contextlib.contextmanager
def _undisturbed(trainer: Trainer, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Keep gradients, random numbers and what the trainer notes of its last iterator.

    Within, random numbers are those of ``--seed``: what is computed is the same again.
    """
    gradients = [parameter.grad for parameter in parameters]
    dummy_batch = trainer._dummy_batch
    python_state = random.getstate()
    seed = trainer.cfg.common.seed
    with utils.set_torch_seed(seed), data_utils.numpy_seed(seed):
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            trainer._dummy_batch = dummy_batch
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient


def building(tensors: list[torch.Tensor]) -> Training:
    """The training that builds an optimizer of ``tensors`` now.

    Raises:
        UserError: its parameters cannot be told apart (sharded, pipelined).
        RuntimeError: none does.
    """
    if _builder is None:
        raise RuntimeError("this optimizer is built by fairseq's trainer only")
    return Training(_builder, tensors)


def install() -> None:
    """Bind to fairseq's trainer; a second call does nothing."""
    if not hasattr(Trainer, "_rxf_restore"):
        Trainer._rxf_restore = None
        wrap(Trainer, "load_checkpoint", _load_checkpoint)
        wrap(Trainer, "_build_optimizer", _build_optimizer)
        wrap(Trainer, "begin_epoch", _begin_epoch)


def keep_initial_weights(wanted: Callable[[Any], bool]) -> None:
    """Let a model keep its random start where ``wanted(cfg of the optimizer)``.

    The file that training starts from is then read, but its weights do not reach the
    model.  A run that goes on from a checkpoint of its own is left alone.
    """

    def edit(trainer: Trainer, state: dict[str, Any]) -> None:
        if wanted(trainer.cfg.optimizer) and not _continues(trainer, state):
            state["model"] = utils.move_to_cpu(trainer.get_model().state_dict())

    wrap_trainer_reading(edit)


# ------------------------------------------------------------------------- hooks


def _load_checkpoint(
    original: Callable,
    self: Trainer,
    filename: str,
    reset_optimizer: bool = False,
    *args: Any,
    **kwargs: Any,
) -> Any:
    self._rxf_restore = (filename, reset_optimizer)
    try:
        restored = original(self, filename, reset_optimizer, *args, **kwargs)
    finally:
        self._rxf_restore = None
    _start_fresh(self)
    return restored


def _build_optimizer(original: Callable, self: Trainer) -> None:
    global _builder
    _builder = self
    try:
        original(self)
    finally:
        _builder = None
    # Within load_checkpoint a state may be about to be loaded into it.
    if self._rxf_restore is None:
        _start_fresh(self)


def _start_fresh(trainer: Trainer) -> None:
    if trainer._optimizer is not None:
        start = getattr(trainer._optimizer.optimizer, "start_fresh", None)
        if start is not None:
            start()


def _begin_epoch(original: Callable, self: Trainer, epoch: int) -> Any:
    result = original(self, epoch)
    before = getattr(self.optimizer.optimizer, "before_epoch", None)
    if before is not None:
        before(epoch)
    return result


def _continues(trainer: Trainer, state: dict[str, Any]) -> bool:
    """Whether what is read now is a checkpoint of the run itself."""
    filename, reset_optimizer = trainer._rxf_restore
    checkpoint = trainer.cfg.checkpoint
    last = f"checkpoint_last{trainer.checkpoint_suffix}.pt"
    own = os.path.abspath(filename) == os.path.abspath(os.path.join(checkpoint.save_dir, last))
    return own or (not reset_optimizer and state.get("last_optimizer_state") is not None)


# ----------------------------------------------------------------- configuration


def refuse_unknown_layouts(cfg: Any, instead: str) -> None:
    """Refuse set-ups in which parameters cannot be told apart.

    Args:
        cfg: of the run.
        instead: what a user who wants the set-up can do.

    Raises:
        UserError: it is one.
    """
    distributed = cfg.distributed_training
    refused = {
        "--ddp-backend fully_sharded": distributed.ddp_backend == "fully_sharded",
        "--zero-sharding os": distributed.zero_sharding == "os",
        "--pipeline-model-parallel": distributed.pipeline_model_parallel,
        "--model-parallel-size": cfg.common.model_parallel_size > 1,
        "--use-bmuf": cfg.optimization.use_bmuf,
    }
    for flag, is_on in refused.items():
        if is_on:
            raise UserError(
                f"{flag} spreads parameters or their optimizer over processes, where no "
                f"parameter can be told by its name: leave it out, or {instead}"
            )


def _max_lr(cfg: Any) -> float:
    rates = list(cfg.optimization.lr)
    peak = getattr(cfg.lr_scheduler, "max_lr", None)
    return float(max([*rates, peak] if isinstance(peak, (int, float)) else rates))


def pretrained_files(checkpoint: Any) -> list[tuple[str, str]]:
    """(flag, path) of the files that the weights may come from; fairseq loads the last."""
    files = []
    if checkpoint.finetune_from_model is not None:
        files.append(("--finetune-from-model", checkpoint.finetune_from_model))
    if checkpoint.restore_file != _DEFAULT_RESTORE_FILE:
        files.append(("--restore-file", checkpoint.restore_file))
    return files
