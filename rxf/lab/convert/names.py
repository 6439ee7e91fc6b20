"""Which tensor of Hugging Face's models is which of fairseq's.

The weights are the same: no tensor is turned, split or joined.  A table maps fairseq's names to
Hugging Face's; read backwards it is the other direction.  Tensors that are tied stand once in
a Hugging Face file and under each of their names in fairseq's, so several of fairseq's names may
lead to one.
"""

from typing import NamedTuple

__all__ = ["Names", "bart_names", "base_prefix", "head_names", "roberta_names"]

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
# fairseq's module inside a RoBERTa layer -> Hugging Face's.
ROBERTA_LAYER = {
    "self_attn.q_proj": "attention.self.query",
    "self_attn.k_proj": "attention.self.key",
    "self_attn.v_proj": "attention.self.value",
    "self_attn.out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
# What BART's two sides have in common; both libraries use fairseq's names.
BART_LAYER = (
    *(f"self_attn.{name}" for name in ATTENTION),
    *("self_attn_layer_norm", "fc1", "fc2", "final_layer_norm"),
)
BART_CROSS = (*(f"encoder_attn.{name}" for name in ATTENTION), "encoder_attn_layer_norm")


class Names(NamedTuple):
    """The tensors of a model.

    Attributes:
        body: fairseq's name -> Hugging Face's, of what every model of the family has.
        language_model: the same for what only predicts words.
    """

    body: dict[str, str]
    language_model: dict[str, str]


def roberta_names(layers: int, tied: bool = True) -> Names:
    """RoBERTa and XLM-R.

    Args:
        layers: of the encoder.
        tied: whether words are predicted with the embeddings themselves.
    """
    ours, theirs = "encoder.sentence_encoder", "roberta.embeddings"
    body = {
        f"{ours}.embed_tokens.weight": f"{theirs}.word_embeddings.weight",
        f"{ours}.embed_positions.weight": f"{theirs}.position_embeddings.weight",
        **_affine(f"{ours}.layernorm_embedding", f"{theirs}.LayerNorm"),
    }
    for layer in range(layers):
        for own, other in ROBERTA_LAYER.items():
            body |= _affine(
                f"{ours}.layers.{layer}.{own}", f"roberta.encoder.layer.{layer}.{other}"
            )
    words = body[f"{ours}.embed_tokens.weight"] if tied else "lm_head.decoder.weight"
    head = {
        "encoder.lm_head.weight": words,
        # Where nothing is tied, the layer has a bias of its own, and lm_head.bias is not used.
        "encoder.lm_head.bias": "lm_head.bias" if tied else "lm_head.decoder.bias",
        **_affine("encoder.lm_head.dense", "lm_head.dense"),
        **_affine("encoder.lm_head.layer_norm", "lm_head.layer_norm"),
    }
    return Names(body, head)


def bart_names(encoder_layers: int, decoder_layers: int) -> Names:
    """BART, whose three embedding matrices are one."""
    body: dict[str, str] = {}
    for side, layers in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        body[f"{side}.embed_tokens.weight"] = "model.shared.weight"
        modules = list(BART_LAYER) + (list(BART_CROSS) if side == "decoder" else [])
        names = [f"{side}.layers.{layer}.{name}" for layer in range(layers) for name in modules]
        body[f"{side}.embed_positions.weight"] = f"model.{side}.embed_positions.weight"
        for name in [f"{side}.layernorm_embedding", *names]:
            body |= _affine(name, f"model.{name}")
    return Names(body, {"decoder.output_projection.weight": "model.shared.weight"})


def head_names(family: str, head: str) -> dict[str, str]:
    """The classification head ``head`` of fairseq's and the one that Hugging Face's model has."""
    theirs = "classification_head" if family == "bart" else "classifier"
    ours = f"classification_heads.{head}"
    names = [_affine(f"{ours}.{layer}", f"{theirs}.{layer}") for layer in ("dense", "out_proj")]
    return {**names[0], **names[1]}


def base_prefix(family: str) -> str:
    """What stands in front of a tensor's name unless the file is of the model without a head."""
    return "model." if family == "bart" else "roberta."


def _affine(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}
