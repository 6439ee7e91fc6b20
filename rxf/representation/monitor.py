"""Collapse watched while it happens: every N updates of a fine-tuning.

What is compared with is the pre-trained file that training starts from.  It is read again by
a run that goes on, so that checkpoints are the same with and without this; which file it was
is noted in a small file beside them.  One rank measures, the others wait for it at the next
update as for any slow one: there is no communication.
"""

import copy
import json
import logging
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from torch import Tensor, nn

from rxf import fairseq_fixes
from rxf.errors import UserError, check_number
from rxf.forward import evaluating, replaced_weights
from rxf.parameters.ledger import Entry
from rxf.parameters.pretrained import PretrainedWeights, read_pretrained
from rxf.parameters.training import pretrained_files, refuse_unknown_layouts
from rxf.representation.distance import weight_distance
from rxf.representation.measurement import layer_states, measure
from rxf.representation.model import encoder, masked_lm_head, named_below
from rxf.representation.text import Batch, binary_rows, make_batches, pick, same_words, wrapped

__all__ = ["NOTE", "CollapseConfig", "CollapseMonitor"]

logger = logging.getLogger(__name__)
NOTE = "collapse_reference.json"
BATCH_TOKENS = 2048
LEAST_TOKENS = 16
SEED = 1


@dataclass
class CollapseConfig(FairseqDataclass):
    """Flags of the monitor of collapse, on every ``sentence_prediction_*`` criterion."""

    collapse_interval: int = field(
        default=0,
        metadata={
            "help": "every N updates, measure what has become of the pre-trained encoder and log "
            "it as collapse_*; 0 is off. Needs --collapse-text, and --finetune-from-model (or "
            "--restore-file) for the weights to compare with"
        },
    )
    collapse_text: Optional[str] = field(
        default=None,
        metadata={"help": "held-out text to measure on: the OUT of `rxf prepare text`"},
    )
    collapse_tokens: int = field(
        default=2048,
        metadata={
            "help": "tokens of it to measure on; the pre-trained vectors of all layers of these "
            "are kept in main memory"
        },
    )


class _Reference(NamedTuple):
    """The pre-trained model, as far as it is compared with; on the CPU but for the head."""

    weights: PretrainedWeights
    names: list[str]
    batches: list[Batch]
    states: list[list[Tensor]]
    head: Optional[nn.Module]


class CollapseMonitor(nn.Module):
    """A part of a criterion; the hooks are those of ``fairseq_fixes/criterion_hooks.py``.

    It has no parameters and no state.  Nothing of a training changes by it: not the weights,
    modes, gradients or random numbers.

    Logged, each value as of its update: ``collapse_mlm_bits`` (masked-LM loss with the
    pre-trained head and output table, in bits per masked token; not for BART),
    ``collapse_cka``, ``collapse_cosine``, ``collapse_effective_rank`` and
    ``collapse_anisotropy`` of the encoder's last layer, ``collapse_weight_distance`` (of the
    encoder, relative to the norm of its pre-trained weights).

    Args:
        cfg: with an interval above 0.
        dictionary: of the sentences.

    Raises:
        UserError: a setting means nothing, the text is not there or has other words, or a fix
            that this needs is off.
    """

    def __init__(self, cfg: CollapseConfig, dictionary: Dictionary) -> None:
        super().__init__()
        _check_settings(cfg)
        self.interval = cfg.collapse_interval
        self.tokens = cfg.collapse_tokens
        self.dictionary = dictionary
        self._rows = _read(str(cfg.collapse_text), dictionary)
        self._reference: Optional[_Reference] = None

    def before_epoch(self, trainer: Trainer, epoch: int) -> None:
        """At the first epoch of this process, read what is compared with.

        Raises:
            UserError: there is no file of pre-trained weights, or it is not the one that this
                run has started with, or holds not all of the encoder.
        """
        if self._reference is not None or not trainer.is_data_parallel_master:
            return
        refuse_unknown_layouts(trainer.cfg, "leave --collapse-interval at 0")
        model = trainer.get_model()
        flag, path = _pretrained_file(trainer)
        self._reference = self._refer(model, path, flag, trainer.cfg.model)
        _keep_note(trainer, self._reference.weights)
        if trainer.get_num_updates() == 0:
            values = ", ".join(f"{k} {v:.4f}" for k, v in self._values(model).items())
            logger.info(f"collapse before training, compared with {path}: {values}")

    def after_update(self, trainer: Trainer) -> None:
        """Measure and log, if it is time to."""
        if self._reference is None or trainer.get_num_updates() % self.interval:
            return
        for name, value in self._values(trainer.get_model()).items():
            if math.isfinite(value):
                # A weight of 0 is a meter that shows the latest value.
                metrics.log_scalar(f"collapse_{name}", value, weight=0, priority=740, round=5)

    def _refer(self, model: nn.Module, path: str, flag: str, model_cfg: Any) -> _Reference:
        module, lm_head = encoder(model), masked_lm_head(model)
        names = list(named_below(model, module))
        wanted = names if lm_head is None else [*names, *named_below(model, lm_head)]
        weights = read_pretrained(path, flag, model, _entries(model, wanted), model_cfg)
        missing = [name for name in names if name not in weights.tensors]
        if missing:
            raise UserError(
                f"{flag} {path}: holds no {missing[0]}, with which --collapse-interval compares: "
                "name the file that the model was pre-trained to"
            )
        if any(name not in weights.tensors for name in wanted):
            logger.info(f"{path} holds no masked-LM head: collapse_mlm_bits is left out")
            lm_head = None
        rows = wrapped(self._rows, self.dictionary, int(module.max_positions()))
        rows = pick(rows, self.tokens, SEED)
        batches = make_batches(rows, self.dictionary, BATCH_TOKENS, SEED)
        with replaced_weights(model, _like(weights.tensors, model)), evaluating(model):
            # In the model's precision and on its device; the output table comes along.
            head = None if lm_head is None else copy.deepcopy(lm_head)
            states = [[s.cpu() for s in layer_states(model, batch.tokens)] for batch in batches]
        return _Reference(weights, names, batches, states, head)

    def _values(self, model: nn.Module) -> dict[str, float]:
        assert self._reference is not None
        weights, names, batches, states, head = self._reference
        found = measure(model, batches, states, head)
        after = named_below(model, encoder(model))
        bits = {} if found.masked_lm is None else {"mlm_bits": found.masked_lm.per_token}
        distance = weight_distance(weights.tensors, after, names)
        return {**bits, **found.layers[-1]._asdict(), "weight_distance": distance.relative}


# --------------------------------------------------------------------------- settings


def _check_settings(cfg: CollapseConfig) -> None:
    interval, tokens = cfg.collapse_interval, cfg.collapse_tokens
    check_number("--collapse-interval", interval, interval >= 0, "of 0 or more")
    check_number("--collapse-tokens", tokens, tokens >= LEAST_TOKENS, f"of {LEAST_TOKENS} or more")
    if cfg.collapse_text is None:
        raise UserError(
            "--collapse-interval measures on held-out text: give --collapse-text DIR, made by "
            "`rxf prepare text`"
        )
    on = fairseq_fixes.status()
    for fix in ("criterion-hooks", "stale-copies"):
        if not on[fix]:
            raise UserError(f"--collapse-interval needs the fix {fix}: leave it on (RXF_FIXES)")


def _read(folder: str, dictionary: Dictionary) -> list[Tensor]:
    words, rows = binary_rows(Path(folder), "--collapse-text")
    if not same_words(words, dictionary):
        raise UserError(
            f"--collapse-text {folder}: its dict.txt is not that of the sentences: prepare it "
            "with the dict.txt of the pre-trained model"
        )
    total = sum(len(row) for row in rows)
    if total < LEAST_TOKENS:
        raise UserError(f"--collapse-text {folder}: holds {total} tokens, which is too little")
    return rows


# ------------------------------------------------------------------ pre-trained weights


def _pretrained_file(trainer: Trainer) -> tuple[str, str]:
    """(flag, path) of what this run started from, also where it goes on."""
    files = pretrained_files(trainer.cfg.checkpoint)
    if trainer.get_num_updates() > 0:
        note = _note(trainer)
        # What --restore-file names now is this run's own checkpoint.
        files = [file for file in files if file[0] != "--restore-file"]
        if note is not None and os.path.isfile(note["path"]):
            files.append((NOTE, note["path"]))
    if not files:
        raise UserError(
            "--collapse-interval compares with pre-trained weights, and no file of them is "
            "named: give --finetune-from-model (or --restore-file with the --reset flags)"
        )
    # Of two, the one that fairseq loads; of a run that goes on, the one that it noted.
    return files[-1]


def _note_file(trainer: Trainer) -> Path:
    return Path(trainer.cfg.checkpoint.save_dir) / NOTE


def _note(trainer: Trainer) -> Optional[dict[str, str]]:
    try:
        return json.loads(_note_file(trainer).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _keep_note(trainer: Trainer, weights: PretrainedWeights) -> None:
    """Write down what is compared with, or see that it is what was.

    Raises:
        UserError: a run that goes on is compared with another file than before.
    """
    note = _note(trainer) if trainer.get_num_updates() > 0 else None
    if note is not None and note["fingerprint"] != weights.fingerprint:
        raise UserError(
            f"--finetune-from-model {weights.path}: holds other weights than {note['path']}, "
            "with which --collapse-interval compared this run so far: bring that one back, or "
            f"delete {_note_file(trainer)}"
        )
    if note is None and not trainer.cfg.checkpoint.no_save:
        facts = {"path": os.path.abspath(weights.path), "fingerprint": weights.fingerprint}
        path = _note_file(trainer)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, path)


def _entries(model: nn.Module, names: list[str]) -> list[Entry]:
    """As :func:`read_pretrained` wants them; frozen parameters count too."""
    holders = dict(model.named_modules())
    return [
        Entry(name, "model", holders[name.rpartition(".")[0]], model.get_parameter(name), 0, 0)
        for name in names
    ]


def _like(tensors: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.to(model.get_parameter(name)) for name, tensor in tensors.items()}
