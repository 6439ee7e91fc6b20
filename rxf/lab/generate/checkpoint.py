"""What a checkpoint says of itself, and whether it fits the dictionaries of the data."""

import ast
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq import checkpoint_utils, utils
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY, FairseqEncoderDecoderModel
from fairseq.models.bart import BARTModel
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationTask

from rxf.errors import UserError
from rxf.lab.generate.flags import nested, without_hydras_warnings

__all__ = ["SavedModel", "check_path", "paths", "read"]

logger = logging.getLogger(__name__)
# Settings of the training's task under which the model saw its input.
TASK_SETTINGS = (
    *("left_pad_source", "left_pad_target", "max_source_positions", "max_target_positions"),
    *("truncate_source", "langs", "prepend_bos"),
)


@dataclass
class SavedModel:
    """A checkpoint that was read once.

    Attributes:
        path: as the user gave it.
        state: what the file holds; None once a model was made of it.
        model_class: of fairseq's registry.
        task_settings: of the training, as far as they decide what the model gets to see;
            with ``task`` where that is a translation task.
    """

    path: Path
    state: Optional[dict[str, Any]]
    model_class: type
    task_settings: dict[str, Any]

    def check_dictionary(self, side: str, file: str, dictionary: Dictionary) -> None:
        """Raise if the embeddings of ``side``, encoder or decoder, are not those of a dictionary.

        Args:
            side: ``encoder`` or ``decoder``.
            file: that the dictionary was read from, for the message.
            dictionary: as the task holds it.
        """
        weights = (self.state or {}).get("model", {}).get(f"{side}.embed_tokens.weight")
        if weights is None or len(weights) == len(dictionary):
            return
        rows, types = len(weights), len(dictionary)
        facts = f"{file} makes {types} types and the {side} of {self.path} has {rows}"
        masked = "<mask>" in dictionary
        if issubclass(self.model_class, BARTModel) and rows == types + 1 and not masked:
            # The file that BART's authors publish: fairseq cuts that row off by itself.
            logger.warning(f"{facts}: the last one is taken for <mask> and left out")
        elif masked and rows == types - 1:
            raise UserError(
                f"{facts}: it was fine-tuned without <mask>; prepare DATA with a dict.txt "
                "that does not hold it"
            )
        else:
            raise UserError(
                f"{facts}: DATA was prepared with another dictionary than the training's; "
                "prepare it with the dict.txt that the checkpoint was trained with"
            )

    def load(self, cfg: Any, task: Any) -> list[Any]:
        """The model or models on the CPU, by fairseq's own loading.

        Raises:
            UserError: the weights do not fit the model that the file describes.
        """
        overrides = _overrides(cfg)
        files = paths(self.path)
        # Overrides change what is built of the file, so that it has to be read anew.
        state = None if overrides or len(files) > 1 else self.state
        self.state = None
        try:
            with without_hydras_warnings():
                models, _ = checkpoint_utils.load_model_ensemble(
                    files, arg_overrides=overrides, task=task, state=state
                )
        except (AssertionError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"checkpoint {self.path} does not fit its model ({reason[:300]}): take the file "
                "as fairseq-train wrote it, with the --user-dir it was trained with"
            ) from error
        return models


def paths(checkpoint: Path) -> list[str]:
    """One file, or several joined by ``:`` as fairseq has it."""
    return utils.split_paths(str(checkpoint))


def check_path(checkpoint: Path) -> None:
    """Raise if one of the files is not there."""
    for path in paths(checkpoint):
        if not Path(path).is_file():
            raise UserError(f"CHECKPOINT {path}: does not exist or is no file: correct the path")


def read(checkpoint: Path) -> SavedModel:
    """Read the (first) checkpoint.

    Raises:
        UserError: it is truncated, no fairseq checkpoint, or no model that generates.
    """
    with without_hydras_warnings():
        state = checkpoint_utils.load_checkpoint_to_cpu(paths(checkpoint)[0])
    cfg = _saved_configuration(checkpoint, state)
    return SavedModel(checkpoint, state, _model_class(checkpoint, cfg), _task_settings(cfg))


def _saved_configuration(checkpoint: Path, state: dict[str, Any]) -> Any:
    if state.get("args") is not None:
        return nested(state["args"])
    if state.get("cfg") is None or "model" not in state:
        raise UserError(f"CHECKPOINT {checkpoint}: holds no model with its settings: take another")
    return state["cfg"]


def _model_class(checkpoint: Path, cfg: Any) -> type:
    name = getattr(cfg.model, "_name", None) or getattr(cfg.model, "arch", None)
    known = ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)
    if known is None:
        raise UserError(
            f"CHECKPOINT {checkpoint}: its model {name!r} is not known: give the --user-dir "
            "that registers it"
        )
    if not issubclass(known, FairseqEncoderDecoderModel):
        raise UserError(
            f"CHECKPOINT {checkpoint}: is a {name}, which has no decoder to generate with: "
            "take a sequence-to-sequence model"
        )
    return known


def _task_settings(cfg: Any) -> dict[str, Any]:
    name = getattr(cfg.task, "_name", None) or getattr(cfg.task, "task", None)
    # A raw BART was trained to denoise, with a task that reads other data than ours.
    if not issubclass(TASK_REGISTRY.get(name, object), TranslationTask):
        return {}
    found = {key: getattr(cfg.task, key, None) for key in TASK_SETTINGS}
    return {"task": name, **{key: value for key, value in found.items() if value is not None}}


def _overrides(cfg: Any) -> dict[str, Any]:
    text = cfg.common_eval.model_overrides
    try:
        return dict(ast.literal_eval(text))
    except (SyntaxError, TypeError, ValueError):
        raise UserError(
            f"--model-overrides {text}: is no Python dictionary, as \"{{'dropout': 0}}\" is"
        ) from None
