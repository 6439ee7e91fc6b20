"""config.json of Hugging Face and the architecture flags of fairseq.

RoBERTa and XLM-R are one architecture in both; BART is another.  What fairseq builds and
Hugging Face's class does not, or the other way round, is refused here and not approximated.
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from rxf.errors import UserError

__all__ = ["FAMILIES", "config_of", "family_of", "settings_of"]

Config = dict[str, Any]

# config.json's model_type -> the architecture.
FAMILIES = {"roberta": "roberta", "xlm-roberta": "roberta", "bart": "bart"}
CLASSES = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "bart": "Bart"}
# Hugging Face's name of an activation -> fairseq's; the first of several is used for writing.
ACTIVATIONS = {
    "gelu": "gelu",
    "relu": "relu",
    "gelu_new": "gelu_accurate",
    "gelu_pytorch_tanh": "gelu_accurate",
}
# fairseq's epsilon of every LayerNorm, which no flag changes.
EPSILON = 1e-5
# Positions are counted from behind <pad>, whose number is 1, in both libraries.
OFFSET = 2
SPECIAL = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}

# fairseq's setting -> Hugging Face's, where the values are the same.
ROBERTA = {
    "encoder_layers": "num_hidden_layers",
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_attention_heads": "num_attention_heads",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
BART = {
    **{f"{side}_layers": f"{side}_layers" for side in ("encoder", "decoder")},
    **{f"{side}_embed_dim": "d_model" for side in ("encoder", "decoder")},
    **{f"{side}_ffn_embed_dim": f"{side}_ffn_dim" for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": f"{side}_attention_heads" for side in ("encoder", "decoder")},
    **{f"max_{side}_positions": "max_position_embeddings" for side in ("source", "target")},
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
}
# What Hugging Face's classes always do, as fairseq's settings say it.
FIXED = {
    "roberta": {
        "encoder_normalize_before": False,
        "layernorm_embedding": True,
        "no_scale_embedding": True,
        "encoder_learned_pos": True,
        "no_token_positional_embeddings": False,
        "pooler_activation_fn": "tanh",
    },
    "bart": {
        "encoder_normalize_before": False,
        "decoder_normalize_before": False,
        "layernorm_embedding": True,
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
        "share_all_embeddings": True,
        "no_token_positional_embeddings": False,
        "pooler_activation_fn": "tanh",
    },
}
# What fairseq's models always do, as config.json says it.
FIXED_CONFIG = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    **SPECIAL,
}
BART_FIXED_CONFIG = {"tie_word_embeddings": True, "decoder_start_token_id": 2}
NAMED = {
    ("roberta", 12, 768): "roberta_base",
    ("roberta", 24, 1024): "roberta_large",
    ("bart", 6, 768): "bart_base",
    ("bart", 12, 1024): "bart_large",
}
# What a BART, which has a decoder of its own, may say as it likes.
ENCODER_ONLY = ("is_decoder", "add_cross_attention")


def family_of(config: Mapping[str, Any], path: Any) -> str:
    """``roberta`` or ``bart``.

    Args:
        config: of config.json.
        path: of it, for messages.

    Raises:
        UserError: another architecture.
    """
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise UserError(
            f"{path}: model_type {kind} is not known to rxf convert: it takes {', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]


def settings_of(config: Mapping[str, Any], path: Any) -> Namespace:
    """fairseq's settings of a config.json, with the task that the model was pre-trained by.

    Args:
        config: as read; a value that it lacks is the default of Hugging Face's class.
        path: of it, for messages.

    Raises:
        UserError: the model does what fairseq's cannot, or the file lacks a size.
    """
    family = family_of(config, path)
    _check_config(family, config, path)
    try:
        values = {own: config[name] for own, name in _pairs(family, config).items()}
        act = config["activation_function" if family == "bart" else "hidden_act"]
        positions = int(config["max_position_embeddings"])
    except KeyError as error:
        reason = f"lacks {error}: give config.json as save_pretrained writes it"
        raise UserError(f"{path}: {reason}") from None
    if act not in ACTIVATIONS:
        raise UserError(f"{path}: activation {act}: fairseq has {', '.join(ACTIVATIONS)}")
    pooler_dropout = config.get("classifier_dropout")
    if pooler_dropout is None:
        pooler_dropout = 0.0 if family == "bart" else values["dropout"]
    values |= {"activation_fn": ACTIVATIONS[act], "pooler_dropout": pooler_dropout}
    values |= {"pooler_activation_fn": "tanh", "arch": _arch(family, values)}
    values |= (
        _roberta_rest(config, positions) if family == "roberta" else _bart_rest(config, positions)
    )
    return Namespace(**values)


def _pairs(family: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The names that this config.json has to hold; rates that it lacks are left to fairseq."""
    table = ROBERTA if family == "roberta" else BART
    optional = ("dropout", "attention_dropout", "activation_dropout")
    return {own: name for own, name in table.items() if own not in optional or name in config}


def _roberta_rest(config: Mapping[str, Any], rows: int) -> Config:
    positions = rows - OFFSET
    return {
        "max_positions": positions,
        "tokens_per_sample": positions,
        "untie_weights_roberta": not config.get("tie_word_embeddings", True),
        "task": "masked_lm",
        "criterion": "masked_lm",
        "sample_break_mode": "complete",
    }


def _bart_rest(config: Mapping[str, Any], positions: int) -> Config:
    return {
        "no_scale_embedding": not config.get("scale_embedding", False),
        **{name: True for name in ("share_all_embeddings", "share_decoder_input_output_embed")},
        **{name: True for name in ("encoder_learned_pos", "decoder_learned_pos")},
        "layernorm_embedding": True,
        "tokens_per_sample": positions,
        "task": "denoising",
        "criterion": "cross_entropy",
        "shuffle_instance": False,
        "seed": 1,
    }


def _check_config(family: str, config: Mapping[str, Any], path: Any) -> None:
    fixed = FIXED_CONFIG | (BART_FIXED_CONFIG if family == "bart" else {})
    if family == "bart":
        fixed = {name: value for name, value in fixed.items() if name not in ENCODER_ONLY}
    for name, value in fixed.items():
        if config.get(name, value) not in (value, None):
            raise UserError(
                f"{path}: {name} is {config[name]}, and fairseq's model has {value}: "
                "this model has no counterpart there"
            )


def _arch(family: str, values: Mapping[str, Any]) -> str:
    """The architecture's name in fairseq; sizes stand beside it in any case."""
    size = (family, values["encoder_layers"], values["encoder_embed_dim"])
    return NAMED.get(size, "roberta" if family == "roberta" else "bart_large")


def config_of(kind: str, settings: Namespace, rows: int, checkpoint: Any) -> Config:
    """config.json of a fairseq model, without what belongs to a classification head.

    Args:
        kind: model_type, a key of :data:`FAMILIES`.
        settings: of the model, complete.
        rows: of its embeddings.
        checkpoint: for messages.

    Raises:
        UserError: Hugging Face has no such model.
    """
    family = FAMILIES[kind]
    _check_settings(family, settings, checkpoint)
    config: Config = {"model_type": kind, "vocab_size": rows, **SPECIAL}
    for own, name in (ROBERTA if family == "roberta" else BART).items():
        value = getattr(settings, own, 0.0)
        if config.get(name, value) != value:
            raise UserError(
                f"CHECKPOINT {checkpoint}: {own} is {value} beside {config[name]} on the other "
                f"side, and Hugging Face's BART has one {name} for both"
            )
        config[name] = value
    act = _activation(settings, checkpoint)
    config["classifier_dropout"] = getattr(settings, "pooler_dropout", 0.0)
    if family == "bart":
        return config | {
            "activation_function": act,
            "scale_embedding": not settings.no_scale_embedding,
            "is_encoder_decoder": True,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        }
    return config | {
        "hidden_act": act,
        "layer_norm_eps": EPSILON,
        "max_position_embeddings": settings.max_positions + OFFSET,
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "tie_word_embeddings": not settings.untie_weights_roberta,
    }


def _check_settings(family: str, settings: Namespace, checkpoint: Any) -> None:
    for name, value in FIXED[family].items():
        if getattr(settings, name, value) != value:
            raise UserError(
                f"CHECKPOINT {checkpoint}: {name} is {getattr(settings, name)}, and Hugging "
                f"Face's {CLASSES[family]} has {value}: this model has no counterpart there"
            )


def _activation(settings: Namespace, checkpoint: Any) -> str:
    for theirs, ours in ACTIVATIONS.items():
        if settings.activation_fn == ours:
            return theirs
    raise UserError(
        f"CHECKPOINT {checkpoint}: activation_fn {settings.activation_fn}: Hugging Face has "
        f"{', '.join(ACTIVATIONS.values())}"
    )
