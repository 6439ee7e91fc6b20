"""Adam that knows each parameter by name, whatever fairseq made of them.

The optimizers of RecAdam and CWGNC are this one with other rates.  An update, for each
named parameter on its own, in fp32 (fp64 where the parameter is):

    1. its gradient, unscaled, is clipped by component, where that is asked for
    2. Adam, at the rate that the method gives to anchored parameters, in full for new ones
    3. the pulls towards the anchor: the method's and L2-SP's in one, then EWC's
    4. weight decay; before 2, where fairseq's adam has it, unless the method decays last

A parameter without gradient in an update is left alone: no moment, no decay, no pull.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import torch
from fairseq.logging import metrics
from torch import Tensor

from rxf.errors import UserError
from rxf.optim import adam_step
from rxf.optim.adam_step import distances
from rxf.optim.anchor import Anchor, first_anchor, restored_anchor
from rxf.optim.batches import alike
from rxf.optim.clipping import clip_factors
from rxf.optim.fisher import fisher_diagonal
from rxf.optim.parts import MOMENTS, Part, Workspace, elements, gradients_of, parts_of
from rxf.optim.saved_state import KEY, log_changes, pack, unpack
from rxf.optim.settings import ComponentAdamConfig, betas, check_settings
from rxf.parameters.training import Training

__all__ = ["ComponentAdam", "Rates"]


@dataclass(frozen=True)
class Rates:
    """What an update multiplies the learning rate by, for anchored parameters."""

    adam: float = 1.0
    pull: float = 0.0


@dataclass
class _Lengths:
    """Euclidean norms of pieces of what is logged."""

    distance: list[Tensor] = field(default_factory=list)
    pull: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class _Treatment:
    """What parts have in common that are updated together.

    ``step`` is Adam's: behind the optimizer's count of updates where a parameter was without
    gradient in some.
    """

    kind: tuple[torch.dtype, torch.device]
    lr_scale: float
    weight_decay: float
    is_anchored: bool
    step: int


class ComponentAdam(torch.optim.Optimizer):
    """See the module.

    Args:
        cfg: the flags.
        tensors: what fairseq hands to an optimizer.
        training: what is around it.

    Raises:
        UserError: a setting means nothing, or diverges.
    """

    # What --optimizer calls it.
    method = ""
    decays_last = False
    supports_memory_efficient_fp16 = True
    supports_flat_params = True

    def __init__(
        self, cfg: ComponentAdamConfig, tensors: Sequence[Tensor], training: Training
    ) -> None:
        check_settings(cfg)
        self.cfg = cfg
        self.training = training
        self.tensors = list(tensors)
        super().__init__(self.tensors, {"lr": training.max_lr})
        self.updates = 0
        self.anchor: Optional[Anchor] = None
        self.fisher: Optional[dict[int, Tensor]] = None
        self._started = False
        # Numbers of the entries that no rank has a gradient of.
        self._without_gradient: set[int] = set()
        self._parts = parts_of(training.ledger, cfg)
        self._betas = betas(cfg)
        self._refuse_divergence(self.largest_pull() + cfg.l2sp_weight)

    # ---------------------------------------------------------- what a method says

    def rates(self, update: int) -> Rates:
        """The rates of update number ``update``, counted from 1."""
        return Rates()

    def largest_pull(self) -> float:
        """The largest pull that any update has."""
        return 0.0

    def needs_anchor(self) -> bool:
        return self.cfg.l2sp_weight > 0 or self.cfg.ewc_weight > 0

    def anchor_files(self) -> list[tuple[str, str]]:
        """(flag, path) of the files that the anchor may be read from, best first."""
        return self.training.pretrained_files

    def log_method(self) -> None:
        """Log what the method has to say of the update just done."""

    # -------------------------------------------------------------- start and state

    def start_fresh(self) -> None:
        """Take the anchor of a run that starts; nothing where one is taken already."""
        if self._started:
            return
        self._started = True
        if self.needs_anchor():
            training = self.training
            files = self.anchor_files()
            self.anchor = first_anchor(files, self.method, training.ledger, training.model_cfg)

    def before_epoch(self, epoch: int) -> None:
        """Estimate what EWC weighs parameters by, unless that is known."""
        if self.cfg.ewc_weight == 0 or self.fisher is not None:
            return
        assert self.anchor is not None
        self.fisher = fisher_diagonal(self.training, self.anchor, self.cfg.ewc_batches, epoch)
        largest = max(float(tensor.max()) for tensor in self.fisher.values())
        elastic = self.cfg.l2sp_weight + self.cfg.ewc_weight * largest
        self._refuse_divergence(self.largest_pull() + elastic)

    def _refuse_divergence(self, pull: float) -> None:
        """p - anchor is multiplied by 1 - lr x pull in an update: no further than to -1."""
        if self.training.max_lr * pull >= 2:
            raise UserError(
                f"--optimizer {self.method}: the largest learning rate {self.training.max_lr:g} "
                f"times the largest pull {pull:g} is 2 or more, which drives weights away from "
                f"the anchor: lower --lr below {2 / pull:g}, or {self.pull_flags()}"
            )

    def pull_flags(self) -> str:
        """The flags that make the pull large, for messages."""
        return "--l2sp-weight or --ewc-weight"

    def state_dict(self) -> dict[str, Any]:
        """torch's, with the count of updates, the settings and the anchor's reference.

        Where the model is in half precision and the tensors here are its fp32 copies, with
        these too: a run that goes on from the rounded weights is another run.
        """
        anchor = self.anchor.reference if self.anchor else None
        copies = [tensor.detach() for tensor in self.tensors] if self._holds_copies() else None
        kept = pack(self.method, self.updates, self.cfg, anchor, copies)
        return {**super().state_dict(), KEY: kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken, under the settings of this command line.

        Raises:
            UserError: it is another optimizer's or of another layout, or its anchor's file
                is gone.
        """
        kept = unpack(state_dict, self.method)
        try:
            super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        except ValueError:
            raise UserError(
                f"--optimizer {self.method}: the checkpoint keeps its state in another layout "
                "(--fp16, --fp16-no-flatten-grads, frozen parameters): go on with the same "
                "flags, or give --reset-optimizer"
            ) from None
        self.updates = kept["updates"]
        self._restore_copies(kept["fp32_copies"])
        log_changes(kept["settings"], self.cfg)
        self._restore_anchor(kept["anchor"])

    def _holds_copies(self) -> bool:
        """Whether the model has its own, rounded copies of what is optimised."""
        entries = self.training.ledger.entries
        return any(self.tensors[entry.tensor] is not entry.parameter for entry in entries)

    def _restore_copies(self, saved: Optional[list[Tensor]]) -> None:
        # Saved in another precision there are none: then the model's weights are exact.
        if saved is not None and self._holds_copies():
            with torch.no_grad():
                for tensor, exact in zip(self.tensors, saved, strict=True):
                    tensor.copy_(exact)

    def _restore_anchor(self, reference: Optional[dict[str, str]]) -> None:
        if reference is None or not self.needs_anchor():
            self.start_fresh()
            return
        training = self.training
        files = self.anchor_files()
        self.anchor = restored_anchor(reference, files, training.ledger, training.model_cfg)
        self._started = True

    # ---------------------------------------------------------------------- update

    @property
    def supports_step_with_scale(self) -> bool:
        # In half precision, unscaling loses the small gradients, so it is done after the
        # cast.  (Where there are fp32 copies, fairseq unscales these itself.)
        return any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in self.tensors)

    def note_gradients(self) -> None:
        """Note which parameters no rank has a gradient of, before those are set to zero."""
        entries = self.training.ledger.entries
        present = [entry.parameter.grad is not None for entry in entries]
        anywhere = self.training.all_reduce_max(
            torch.tensor(present, dtype=torch.uint8, device=self.tensors[0].device)
        )
        self._without_gradient = {
            number for number, has_one in enumerate(anywhere.tolist()) if not has_one
        }

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Optional[Callable[[], Any]] = None, scale: Union[float, Tensor] = 1.0
    ) -> Optional[Any]:
        """One update.

        Args:
            closure: computes the loss anew, as torch's optimizers take it.
            scale: what the stored gradients are to be divided by.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.updates += 1
        parts = [part for part in self._parts if self._has_gradient(part)]
        factors = self._gradient_factors(parts, scale)
        lengths = _Lengths() if self.updates % self.training.log_interval == 0 else None
        for batch in alike(parts, self._treatment, elements):
            self._update(batch, factors, lengths)
        if lengths is not None:
            self._log(lengths)
        return loss

    def _log(self, lengths: _Lengths) -> None:
        if self.anchor is not None:
            _log_length("anchor_distance", lengths.distance)
            _log_length("anchor_pull", lengths.pull)
        self.log_method()

    def _has_gradient(self, part: Part) -> bool:
        # fairseq's fp32 copies have a gradient of zeros where the parameter has none.
        stored = self.tensors[part.entry.tensor].grad
        has_one = stored is not None and part.entry.parameter.grad is not None
        return has_one and part.number not in self._without_gradient

    def _gradient_factors(
        self, parts: list[Part], scale: Union[float, Tensor]
    ) -> Optional[dict[int, Tensor]]:
        """Number of each part -> what its stored gradient is multiplied by, if anything."""
        max_norm = self.cfg.component_clip_norm
        is_scaled = torch.is_tensor(scale) or scale != 1.0
        if not parts or not (is_scaled or max_norm > 0):
            return None
        scale = torch.as_tensor(scale, dtype=torch.float32, device=self.tensors[0].device)
        factors = (1.0 / scale).expand(len(parts))
        if max_norm > 0:
            clipping, share = clip_factors(
                factors * self._gradient_norms(parts), [part.component for part in parts], max_norm
            )
            factors = factors * clipping
            metrics.log_scalar("clipped_share", share, priority=730, round=3, weight=0)
        numbers = [part.number for part in parts]
        return dict(zip(numbers, factors.unbind(), strict=True))

    def _gradient_norms(self, parts: list[Part]) -> Tensor:
        norms: dict[int, Tensor] = {}
        for batch in alike(parts, _kind_of_gradient, elements):
            lengths = torch._foreach_norm(gradients_of(batch, self.tensors))
            norms.update(zip((part.number for part in batch), lengths, strict=True))
        return torch.stack([norms[part.number] for part in parts])

    def _treatment(self, part: Part) -> _Treatment:
        tensor = self.tensors[part.entry.tensor]
        return _Treatment(
            kind=(tensor.dtype, tensor.device),
            lr_scale=part.lr_scale,
            weight_decay=part.weight_decay,
            is_anchored=self.anchor is not None and part.number in self.anchor.tensors,
            step=1 + int(self._state_of(part.entry.tensor)["step"][part.place]),
        )

    def _state_of(self, number: int) -> dict[str, Tensor]:
        """torch's state of an optimised tensor: steps of each parameter in it, and moments."""
        tensor = self.tensors[number]
        state: dict[str, Tensor] = self.state[tensor]
        dtype = torch.promote_types(tensor.dtype, torch.float32)
        if not state:
            count = len(self.training.ledger.by_tensor[number])
            state["step"] = torch.zeros(count, dtype=torch.int64)
            for name in MOMENTS:
                state[name] = torch.zeros(tensor.shape, dtype=dtype, device=tensor.device)
        for name in MOMENTS:
            # fairseq's memory-efficient wrapper leaves what it loads on the CPU.
            state[name] = state[name].to(tensor.device, dtype)
        return state

    def _update(
        self, parts: list[Part], factors: Optional[dict[int, Tensor]], lengths: Optional[_Lengths]
    ) -> None:
        """One update of parts that are treated alike."""
        treatment = self._treatment(parts[0])
        states = {part.entry.tensor: self._state_of(part.entry.tensor) for part in parts}
        work = Workspace(parts, self.tensors, states)
        if factors is not None:
            torch._foreach_mul_(work.gradients, [factors[part.number] for part in parts])
        rates = self.rates(self.updates) if treatment.is_anchored else Rates()
        lr = self.param_groups[0]["lr"] * treatment.lr_scale
        adam_step.adam(
            work.weights,
            work.gradients,
            work.first_moments,
            work.second_moments,
            step=treatment.step,
            lr=lr * rates.adam,
            betas=self._betas,
            eps=self.cfg.adam_eps,
            decay=0.0 if self.decays_last else lr * treatment.weight_decay,
        )
        if treatment.is_anchored:
            self._pull(parts, work.weights, lr, rates, lengths)
        if self.decays_last and treatment.weight_decay:
            torch._foreach_mul_(work.weights, 1.0 - lr * treatment.weight_decay)
        if lengths is not None and treatment.is_anchored:
            lengths.distance += distances(work.weights, self._anchors(parts))
        work.write_back()
        for part in parts:
            states[part.entry.tensor]["step"][part.place] += 1

    def _pull(
        self,
        parts: list[Part],
        weights: list[Tensor],
        lr: float,
        rates: Rates,
        lengths: Optional[_Lengths],
    ) -> None:
        anchors = self._anchors(parts)
        rate = lr * (rates.pull + self.cfg.l2sp_weight)
        if lengths is not None and rate > 0 and self.fisher is None:
            lengths.pull += [rate * length for length in distances(weights, anchors)]
        # EWC's part of the pull has another rate for each element.
        before = [w.clone() for w in weights] if lengths and self.fisher is not None else []
        if rate > 0:
            adam_step.pull(weights, anchors, rate)
        if self.fisher is not None:
            fisher = [self.fisher[part.number] for part in parts]
            adam_step.pull_by_fisher(weights, anchors, fisher, lr * self.cfg.ewc_weight)
        if lengths is not None and before:
            lengths.pull += distances(before, weights)

    def _anchors(self, parts: list[Part]) -> list[Tensor]:
        assert self.anchor is not None
        return [self.anchor.tensors[part.number] for part in parts]


def _kind_of_gradient(part: Part) -> torch.dtype:
    return part.entry.parameter.dtype


def _log_length(name: str, pieces: list[Tensor]) -> None:
    """Log the Euclidean norm of all pieces together; 0 where there are none."""
    length = torch.stack(pieces).norm() if pieces else 0.0
    metrics.log_scalar(name, length, priority=720, round=6, weight=0)
