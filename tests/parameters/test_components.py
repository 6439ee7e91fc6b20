"""What part of the network a parameter is, on real models of every family."""

from collections import defaultdict
from typing import Any

import pytest
from fairseq.modules import Fp32LayerNorm
from torch import nn

from rxf.parameters.components import component, is_norm_or_bias, layer_depths
from tests.forward.models import build

LEARNED_POSITIONS = {"encoder_learned_pos": True, "decoder_learned_pos": True}
PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("roberta", {}),
    "xlmr": ("roberta_large", {"untie_weights_roberta": True}),
    "roberta_prenorm": ("roberta_prenorm", {}),
    "roberta_enc_dec": ("roberta_enc_dec", {"pretrained_checkpoint": ""}),
    "r4f": ("roberta", {"spectral_norm_classification_head": True}),
    "quant_noise": ("roberta", {"quant_noise_pq": 0.1, "quant_noise_pq_block_size": 4}),
    "bart": ("bart_base", {}),
    "mbart": ("mbart_base", {}),
    "transformer": ("transformer", {}),
    "transformer_tied": ("transformer", {"share_all_embeddings": True}),
    "transformer_prenorm": ("transformer", {**PRE_NORM, **LEARNED_POSITIONS}),
}
HEAD = "classification_heads.sentence_classification_head"
ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return build_family(request.param)


def build_family(family: str, **changes: Any) -> nn.Module:
    arch, settings = FAMILIES[family]
    return build(arch, **settings, **changes)


def holder(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def components(model: nn.Module) -> dict[str, set[str]]:
    """Component -> the parameters in it."""
    found = defaultdict(set)
    for name, _ in model.named_parameters():
        found[component(name, holder(model, name))].add(name)
    return dict(found)


def depths(model: nn.Module) -> dict[str, int]:
    return layer_depths([name for name, _ in model.named_parameters()])


def grouped(depth_of: dict[str, int]) -> dict[int, set[str]]:
    """Depth -> the parts at it: paths up to the layer, or to the module outside of layers."""
    found = defaultdict(set)
    for name, depth in depth_of.items():
        before, within, after = name.partition(".layers.")
        layer = before + within + after.partition(".")[0]
        found[depth].add(layer if within else name.rpartition(".")[0])
    return dict(found)


# ---------------------------------------------------------------------- components


def layer(path: str, norms: list[str], cross_attention: bool = False) -> dict[str, set[str]]:
    attentions = ["self_attn", "encoder_attn"] if cross_attention else ["self_attn"]
    projections = [f"{name}.{proj}" for name in attentions for proj in ATTENTION] + ["fc1", "fc2"]
    expected = {f"{path}.{proj}": both(f"{path}.{proj}") for proj in projections}
    return {**expected, f"{path}.norms": {n for norm in norms for n in both(f"{path}.{norm}")}}


def both(path: str) -> set[str]:
    return {f"{path}.weight", f"{path}.bias"}


HEAD_PARAMETERS = both(f"{HEAD}.dense") | both(f"{HEAD}.out_proj")


def test_the_components_of_a_roberta() -> None:
    encoder, lm_head = "encoder.sentence_encoder", "encoder.lm_head"
    norms = ["self_attn_layer_norm", "final_layer_norm"]
    assert components(build_family("roberta")) == {
        "embeddings": {f"{encoder}.embed_tokens.weight", f"{encoder}.embed_positions.weight"},
        f"{encoder}.norms": both(f"{encoder}.layernorm_embedding"),
        **layer(f"{encoder}.layers.0", norms),
        **layer(f"{encoder}.layers.1", norms),
        lm_head: {
            f"{lm_head}.bias",
            *both(f"{lm_head}.dense"),
            *both(f"{lm_head}.layer_norm"),
        },
        HEAD: HEAD_PARAMETERS,
    }


def test_the_components_of_a_bart() -> None:
    norms = ["self_attn_layer_norm", "final_layer_norm"]
    decoder_norms = [*norms, "encoder_attn_layer_norm"]
    assert components(build_family("bart")) == {
        "embeddings": {
            "encoder.embed_tokens.weight",
            "encoder.embed_positions.weight",
            "decoder.embed_positions.weight",
        },
        "encoder.norms": both("encoder.layernorm_embedding"),
        "decoder.norms": both("decoder.layernorm_embedding"),
        **layer("encoder.layers.0", norms),
        **layer("encoder.layers.1", norms),
        **layer("decoder.layers.0", decoder_norms, cross_attention=True),
        **layer("decoder.layers.1", decoder_norms, cross_attention=True),
        HEAD: HEAD_PARAMETERS,
    }


def test_every_projection_of_every_family_is_a_component_of_its_own(model: nn.Module) -> None:
    found = components(model)
    for path, module in model.named_modules():
        if path.rpartition(".")[2] in (*ATTENTION, "fc1", "fc2") and not path.startswith(HEAD):
            assert found[path] == {f"{path}.{name}" for name, _ in module.named_parameters()}


def test_final_norms_join_the_norm_of_the_embeddings() -> None:
    found = components(build_family("transformer_prenorm", layernorm_embedding=True))
    for side in ("encoder", "decoder"):
        wanted = both(f"{side}.layernorm_embedding") | both(f"{side}.layer_norm")
        assert found[f"{side}.norms"] == wanted


def test_output_projections_untied_and_tied() -> None:
    untied = components(build_family("transformer"))
    assert untied["decoder.output_projection"] == {"decoder.output_projection.weight"}
    assert untied["embeddings"] == {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
    tied = components(build_family("transformer_tied"))
    assert tied["embeddings"] == {"encoder.embed_tokens.weight"}
    assert "decoder.output_projection" not in tied


def test_spectral_normalisation_leaves_a_head_one_component() -> None:
    assert components(build_family("r4f"))[HEAD] == {
        *both(f"{HEAD}.dense"),
        *(f"{HEAD}.out_proj.{name}" for name in ("weight_orig", "bias")),
    }


@pytest.mark.parametrize(
    ("name", "module", "wanted"),
    [
        ("weight", nn.Linear(2, 2), "weight"),
        ("scale.weight", nn.Linear(2, 2), "scale"),
        ("norm.weight", nn.LayerNorm(2), "norms"),
        ("lm_head.weight", nn.Linear(2, 2), "lm_head"),
        ("encoder.segment_embeddings.weight", nn.Embedding(2, 2), "embeddings"),
        ("encoder.embed_tokens.embeddings.0.1.weight", nn.Linear(2, 2), "embeddings"),
        ("encoder.languages.weight", nn.Embedding(2, 2), "embeddings"),
        ("decoder.embed_out", nn.Module(), "decoder"),
        ("layers.3.attn.distances.weight", nn.Embedding(2, 2), "layers.3.attn.distances"),
        ("layers.3.experts.layers.1.norm.weight", nn.LayerNorm(2), "layers.3.norms"),
        ("classification_heads.a.layers.0.norm.bias", nn.LayerNorm(2), "classification_heads.a"),
        ("classification_heads.weight", nn.Linear(2, 2), "classification_heads"),
        ("encoder.conv_layers.0.norm.weight", nn.LayerNorm(2), "encoder.conv_layers.0.norms"),
        ("my_lm_head.dense.weight", nn.Linear(2, 2), "my_lm_head.dense"),
    ],
)
def test_names_in_odd_places(name: str, module: nn.Module, wanted: str) -> None:
    assert component(name, module) == wanted


# ---------------------------------------------------------------- norms and biases


def test_what_of_each_family_is_decayed(model: nn.Module) -> None:
    """Of these models: matrices are, vectors are not."""
    for name, parameter in model.named_parameters():
        assert is_norm_or_bias(name, holder(model, name)) == (parameter.dim() == 1), name


def test_norms_in_float32_are_the_same_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = components(build_family("bart"))
    transformer = "models.transformer.transformer"
    for place in ("modules.transformer_layer", f"{transformer}_encoder", f"{transformer}_decoder"):
        monkeypatch.setattr(
            f"fairseq.{place}.LayerNorm", lambda size, export=False: Fp32LayerNorm(size)
        )
    model = build_family("bart")
    assert isinstance(model.decoder.layers[1].encoder_attn_layer_norm, Fp32LayerNorm)
    assert components(model) == plain
    assert is_norm_or_bias("encoder.layernorm_embedding.weight", model.encoder.layernorm_embedding)


class FusedLayerNorm(nn.Module):
    """Stands for apex's, which does not derive from torch's."""


class Quick(FusedLayerNorm):
    pass


class LlamaRMSNorm(nn.Module):
    pass


@pytest.mark.parametrize(
    "module",
    [
        *[nn.GroupNorm(1, 2), nn.BatchNorm1d(2), nn.SyncBatchNorm(2), nn.RMSNorm(2)],
        *[nn.InstanceNorm1d(2, affine=True), FusedLayerNorm(), Quick(), LlamaRMSNorm()],
    ],
    ids=lambda module: type(module).__name__,
)
def test_other_normalisation_layers(module: nn.Module) -> None:
    assert is_norm_or_bias("encoder.layers.0.x.weight", module)
    assert component("encoder.layers.0.x.weight", module) == "encoder.layers.0.norms"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        *[(name, True) for name in ("bias", "a.bias", "a.bias_k", "a.bias_v", "a.in_proj_bias")],
        *[(name, False) for name in ("weight", "a.in_proj_weight", "a.bias.weight", "a.unbiased")],
        ("encoder.norm.weight", False),  # the class counts, not the name
    ],
)
def test_biases_by_name(name: str, wanted: bool) -> None:
    assert is_norm_or_bias(name, nn.Linear(2, 2)) is wanted


# -------------------------------------------------------------------------- depths


def test_the_depths_of_a_roberta() -> None:
    encoder = "encoder.sentence_encoder"
    assert grouped(depths(build_family("roberta", encoder_layers=3))) == {
        0: {
            *("encoder.lm_head", "encoder.lm_head.dense", "encoder.lm_head.layer_norm"),
            *(f"{HEAD}.dense", f"{HEAD}.out_proj"),
        },
        1: {f"{encoder}.layers.2"},
        2: {f"{encoder}.layers.1"},
        3: {f"{encoder}.layers.0"},
        4: {f"{encoder}.{n}" for n in ("embed_tokens", "embed_positions", "layernorm_embedding")},
    }


def test_the_depths_of_an_encoder_decoder() -> None:
    model = build_family("transformer_prenorm", encoder_layers=3, layernorm_embedding=True)
    below = ("embed_tokens", "embed_positions", "layernorm_embedding")
    assert grouped(depths(model)) == {
        0: {"decoder.output_projection", "decoder.layer_norm"},
        1: {"decoder.layers.1"},
        2: {"decoder.layers.0"},
        3: {"encoder.layers.2", "encoder.layer_norm"},
        4: {"encoder.layers.1"},
        5: {"encoder.layers.0"},
        6: {f"{side}.{name}" for side in ("encoder", "decoder") for name in below},
    }


def test_the_final_norm_of_an_encoder_alone_is_above_its_layers() -> None:
    found = depths(build_family("roberta_prenorm"))
    assert found["encoder.sentence_encoder.layer_norm.weight"] == 0


def test_a_tied_output_projection_is_an_embedding() -> None:
    found = depths(build_family("transformer_tied"))
    assert found["encoder.embed_tokens.weight"] == 5
    assert min(found.values()) == 1


def test_a_head_on_a_bart_is_on_top() -> None:
    found = depths(build_family("bart"))
    assert {found[name] for name in HEAD_PARAMETERS} == {0}


def test_depths_of_every_family_go_down_layer_by_layer(model: nn.Module) -> None:
    found = depths(model)
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert all(name.rpartition(".")[0] for name in found)
    stacks = [path for path, _ in model.named_modules() if path.endswith(".layers")]
    for stack in stacks:
        per_layer = [
            {depth for name, depth in found.items() if name.startswith(f"{stack}.{number}.")}
            for number in range(2)
        ]
        lowest = 1 if "decoder" in stack or len(stacks) == 1 else 3
        assert per_layer == [{lowest + 1}, {lowest}]
    embeddings = components(model)["embeddings"]
    assert {found[name] for name in embeddings} == {2 * len(stacks) + 1} == {max(found.values())}


def test_depths_of_names_in_odd_places() -> None:
    wanted = {
        "layers.1.output_projection.weight": 1,
        "layers.1.experts.layers.7.fc1.weight": 1,
        "layers.0.embed_positions.weight": 2,
        "layers.weight": 0,
        "layers.top.weight": 0,
        "sublayers.4.weight": 0,
        "conv_layers.4.weight": 0,
        "classification_heads.x.layers.5.weight": 0,
        "embed_tokens.layers.6.weight": 3,
        "segment_embeddings.weight": 3,
        "emb_layer_norm.weight": 3,
        "project_in_dim.weight": 3,
        "quant_noise.weight": 3,
        "embed_out": 0,
        "layer_norm.weight": 0,
    }
    assert layer_depths(list(wanted)) == wanted


def test_what_is_outside_of_layers_in_an_encoder_decoder() -> None:
    wanted = {
        "decoder.layers.0.fc1.weight": 1,
        "encoder.layers.0.fc1.weight": 2,
        "encoder.layer_norm.weight": 2,
        "encoder.lm_head.weight": 0,
        "encoder.output_projection.weight": 0,
        "decoder.encoder.fc.weight": 0,
        "pooler.weight": 0,
    }
    assert layer_depths(list(wanted)) == wanted


def test_a_decoder_alone_is_its_own_bottom() -> None:
    wanted = {
        "decoder.embed_tokens.weight": 3,
        "decoder.layers.0.fc1.weight": 2,
        "decoder.layers.1.fc1.weight": 1,
        "decoder.layer_norm.weight": 0,
    }
    assert layer_depths(list(wanted)) == wanted


def test_depths_without_layers() -> None:
    wanted = {"embed_tokens.weight": 1, "encoder.layer_norm.weight": 0, "fc.weight": 0}
    assert layer_depths(list(wanted)) == wanted
    assert layer_depths([]) == {}


def test_layers_are_counted_by_their_numbers_not_in_text_order() -> None:
    found = layer_depths([f"encoder.layers.{number}.fc1.weight" for number in (10, 9, 2)])
    assert list(found.values()) == [1, 2, 9]


def test_stacks_side_by_side_are_counted_from_their_tops() -> None:
    wanted = {
        "models.de.decoder.layers.0.fc1.weight": 1,
        "models.fr.decoder.layers.1.fc1.weight": 1,
        "models.fr.decoder.layers.0.fc1.weight": 2,
        "models.de.encoder.layers.0.fc1.weight": 3,
        "models.de.encoder.layer_norm.weight": 3,
        "models.de.encoder.embed_tokens.weight": 4,
    }
    assert layer_depths(list(wanted)) == wanted
