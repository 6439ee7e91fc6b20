"""`rxf convert from-hf`: a folder of `save_pretrained` to what fairseq loads."""

import argparse
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rxf.errors import UserError
from rxf.lab.convert import fairseq_model, hf_files, names, vocabulary
from rxf.lab.convert.settings import EPSILON, family_of, settings_of

__all__ = ["HEAD", "Source", "convert", "fairseq_state"]

# The name that fairseq's recipes give to it.
HEAD = "sentence_classification_head"
TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
POSITIONS = "encoder.sentence_encoder.embed_positions.weight"
# Where a tied tensor may stand under another of its names.
ALIASES = {
    "lm_head.bias": ["lm_head.decoder.bias"],
    "lm_head.decoder.bias": ["lm_head.bias"],
    "model.shared.weight": [
        *("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"),
        "lm_head.weight",
    ],
    "roberta.embeddings.word_embeddings.weight": ["lm_head.decoder.weight"],
}
# What fairseq's models do without: buffers, and the pooler that RoBERTa was not trained with.
NEEDLESS = ("position_ids", "final_logits_bias", "pooler.dense.weight", "pooler.dense.bias")


class Source(NamedTuple):
    """A Hugging Face model that was read.

    Attributes:
        folder: of it.
        family: ``roberta`` or ``bart``.
        config: of config.json.
        weights: with the prefix that a model with a head has.
    """

    folder: Path
    family: str
    config: dict[str, Any]
    weights: dict[str, Tensor]


def convert(args: argparse.Namespace) -> list[str]:
    """Write OUT; returns what is to be said of it.

    Args:
        args: ``source``, a folder, and ``out``.

    Raises:
        UserError: a file is missing or does not fit, or fairseq has no such model.
    """
    folder: Path = args.source
    config = hf_files.read_config(folder)
    settings = settings_of(config, folder / hf_files.CONFIG)
    family = family_of(config, folder)
    weights = _prefixed(family, hf_files.read_weights(folder))
    source = Source(folder, family, config, weights)
    rows = len(_tensor(source, _words(family)))
    found = vocabulary.read_hf_symbols(folder, str(config["model_type"]), rows)
    with hf_files.new_folder(args.out) as aside:
        vocabulary.write_fairseq_files(aside, found)
        dictionary = vocabulary.dictionary_of(aside / "dict.txt", rows, "MODEL_DIR")
        state, notes = fairseq_state(source, settings, dictionary)
        torch.save(_checkpoint(settings, state), aside / "model.pt")
    summary = f"{args.out}: {settings.arch}, {rows} types, for --finetune-from-model"
    return [f"{summary} {args.out / 'model.pt'}", *notes]


def fairseq_state(
    source: Source, settings: Namespace, dictionary: Any
) -> tuple[dict[str, Tensor], list[str]]:
    """fairseq's state dict, and what there is to know about it.

    Raises:
        UserError: a tensor is missing, of another shape, or means what fairseq cannot express.
    """
    table = _names(source.family, settings)
    state = {own: _tensor(source, name) for own, name in table.body.items()}
    used = set(table.body.values())
    notes = _add_head(source, state, used) + _add_token_types(source, state, used)
    model = fairseq_model.build(settings, dictionary, f"MODEL_DIR {source.folder}")
    fresh = model.state_dict()
    if all(_find(source, name) is not None for name in table.language_model.values()):
        state |= {own: _tensor(source, name) for own, name in table.language_model.items()}
        used |= set(table.language_model.values())
    else:
        state |= {own: fresh[own] for own in table.language_model if own in fresh}
        state |= _tied(source.family, settings, state)
        notes.append(
            "it has no layers to predict words with: fresh ones stand in, which fine-tuning on "
            "sentences does not use"
        )
    state |= {name: value for name, value in fresh.items() if name.endswith("version")}
    _check_loads(source, settings, dictionary, state)
    _check_bias(source)
    notes += _left_out(source, used) + _epsilon_note(source)
    return state, notes


def _words(family: str) -> str:
    return (
        "model.shared.weight" if family == "bart" else "roberta.embeddings.word_embeddings.weight"
    )


def _names(family: str, settings: Namespace) -> names.Names:
    if family == "bart":
        return names.bart_names(settings.encoder_layers, settings.decoder_layers)
    return names.roberta_names(settings.encoder_layers, not settings.untie_weights_roberta)


def _prefixed(family: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as in a model with a head; a file of AutoModel's lacks the prefix."""
    prefix = names.base_prefix(family)
    if any(name.startswith(prefix) for name in weights):
        return dict(weights)
    return {prefix + name: tensor for name, tensor in weights.items()}


def _find(source: Source, name: str) -> "Tensor | None":
    for known in (name, *ALIASES.get(name, [])):
        if known in source.weights:
            return source.weights[known]
    return None


def _tensor(source: Source, name: str) -> Tensor:
    tensor = _find(source, name)
    if tensor is None:
        raise UserError(
            f"MODEL_DIR {source.folder}: its weights lack {name}, which config.json promises: "
            "copy both again"
        )
    return tensor


def _add_head(source: Source, state: dict[str, Tensor], used: set[str]) -> list[str]:
    table = names.head_names(source.family, HEAD)
    if any(name not in source.weights for name in table.values()):
        return []
    state |= {own: source.weights[name] for own, name in table.items()}
    used |= set(table.values())
    classes = len(state[f"classification_heads.{HEAD}.out_proj.weight"])
    labels = source.config.get("id2label") or {}
    order = ", ".join(str(labels.get(str(number), number)) for number in range(classes))
    return [
        f"classification head {HEAD}, {classes} outputs in this order: {order}; data for it "
        "need the same order in label/dict.txt"
    ]


def _add_token_types(source: Source, state: dict[str, Tensor], used: set[str]) -> list[str]:
    """fairseq's RoBERTa has no token types; type 0, which is added everywhere, joins positions."""
    types = source.weights.get(TOKEN_TYPES)
    used.add(TOKEN_TYPES)
    if source.family != "roberta" or types is None or not types[0].any():
        return []
    state[POSITIONS] = state[POSITIONS] + types[0]
    return ["its embedding of token type 0 was added to the positions"]


def _tied(family: str, settings: Namespace, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrix that words are predicted with, where it is that of the embeddings."""
    if family == "bart":
        return {"decoder.output_projection.weight": state["decoder.embed_tokens.weight"]}
    if settings.untie_weights_roberta:
        return {}
    return {"encoder.lm_head.weight": state["encoder.sentence_encoder.embed_tokens.weight"]}


def _check_loads(
    source: Source, settings: Namespace, dictionary: Any, state: Mapping[str, Tensor]
) -> None:
    """By fairseq itself, strictly: no tensor is missing, too many or of another shape."""
    whole = Namespace(**vars(settings), load_checkpoint_heads=True)
    fairseq_model.complete(whole)
    model = fairseq_model.build(whole, dictionary, f"MODEL_DIR {source.folder}")
    try:
        model.load_state_dict(dict(state), strict=True, model_cfg=whole)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"MODEL_DIR {source.folder}: its weights do not fit config.json ({reason})"
        ) from None


def _check_bias(source: Source) -> None:
    bias = source.weights.get("final_logits_bias")
    if bias is not None and bias.any():
        raise UserError(
            f"MODEL_DIR {source.folder}: final_logits_bias is not zero, and fairseq's BART has "
            "no such bias"
        )


def _left_out(source: Source, used: set[str]) -> list[str]:
    known = used | {alias for aliases in ALIASES.values() for alias in aliases}
    names_left = [n for n in source.weights if n not in known and not n.endswith(NEEDLESS)]
    if not names_left:
        return []
    more = f" and {len(names_left) - 1} more" if len(names_left) > 1 else ""
    return [f"left out, as fairseq's model has no place for it: {names_left[0]}{more}"]


def _epsilon_note(source: Source) -> list[str]:
    epsilon = source.config.get("layer_norm_eps", EPSILON)
    if epsilon == EPSILON:
        return []
    return [f"layer_norm_eps is {epsilon:g} there and {EPSILON:g} in fairseq: outputs differ a bit"]


def _checkpoint(settings: Namespace, state: dict[str, Tensor]) -> dict[str, Any]:
    """All that fairseq's trainer looks at in a file to start from."""
    history = {
        "criterion_name": "MaskedLmLoss",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {"best": None},
        "num_updates": 0,
    }
    return {
        "args": settings,
        "model": state,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": None},
        "last_optimizer_state": None,
    }
