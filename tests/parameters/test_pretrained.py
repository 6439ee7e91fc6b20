"""What a file holds of a model, and what is new."""

from pathlib import Path
from typing import Any

import pytest
import torch

import rxf  # noqa: F401
from rxf.errors import UserError
from rxf.parameters.ledger import Ledger
from rxf.parameters.pretrained import PretrainedWeights, read_pretrained
from tests.forward.models import build
from tests.support import HEAD, build_from_flags, load_checkpoint, train_flags


def _read(path: Path, model: Any) -> PretrainedWeights:
    parameters = [p for p in model.parameters() if p.requires_grad]
    ledger = Ledger.match(parameters, model)
    return read_pretrained(str(path), "--finetune-from-model", model, ledger.entries)


def _names(model: Any) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def _model(data: Path, **settings: Any) -> Any:
    return build_from_flags(train_flags(data, data, **settings))[2]


def _resave(source: Path, target: Path, **model: Any) -> Path:
    """The same file with some of the weights replaced, or left out where None."""
    state = load_checkpoint(source)
    weights = {**state["model"], **model}
    state["model"] = {name: tensor for name, tensor in weights.items() if tensor is not None}
    torch.save(state, target)
    return target


@pytest.mark.parametrize("half", [False, True])
def test_all_but_the_head_is_held(sentence_data: Path, pretrained: Path, half: bool) -> None:
    """The values are the file's in fp32, whatever the model was cast to or trained to."""
    model = _model(sentence_data)
    model = model.half() if half else model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held = _read(pretrained, model)
    new = _names(model) - held.tensors.keys()
    assert new == {n for n in _names(model) if n.startswith("classification_heads.")} and new
    weights = load_checkpoint(pretrained)["model"]
    for name, tensor in held.tensors.items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, weights[name])
    # The model itself is as it was.
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_keys_are_upgraded_first(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    """A file of old names: decoder for encoder, emb_layer_norm, q, k and v in one."""
    state = load_checkpoint(pretrained)
    layer = "encoder.sentence_encoder.layers.0.self_attn."
    weights = state["model"]
    for kind in ("weight", "bias"):
        parts = [weights.pop(f"{layer}{part}_proj.{kind}") for part in "qkv"]
        weights[f"{layer}in_proj_{kind}"] = torch.cat(parts)
    old = {
        name.replace("encoder.", "decoder.", 1).replace("layernorm_embedding", "emb_layer_norm"): t
        for name, t in weights.items()
    }
    state["model"] = old
    torch.save(state, tmp_path / "old.pt")
    model = _model(sentence_data)
    assert _read(tmp_path / "old.pt", model).fingerprint == _read(pretrained, model).fingerprint


def test_a_head_that_fits_is_held_and_another_is_not(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    for classes, is_new in ((2, False), (3, True)):
        torch.manual_seed(5)
        saved = _model(sentence_data, num_classes=classes).state_dict()
        heads = {n: t for n, t in saved.items() if n.startswith("classification_heads.")}
        path = _resave(pretrained, tmp_path / f"{classes}.pt", **heads)
        held = _read(path, _model(sentence_data))
        name = f"classification_heads.{HEAD}.out_proj.weight"
        assert (name not in held.tensors) == is_new


@pytest.mark.parametrize("scope", ["out_proj", "head"])
def test_a_normalised_head_is_new(sentence_data: Path, pretrained: Path, scope: str) -> None:
    settings = {"spectral_norm_classification_head": True, "spectral_norm_scope": scope}
    model = _model(sentence_data, **settings)
    held = _read(pretrained, model)
    assert all(n.startswith("classification_heads.") for n in _names(model) - held.tensors.keys())
    assert not any(name.startswith("classification_heads.") for name in held.tensors)


@pytest.mark.parametrize("arch", ["bart_base", "mbart_base", "transformer"])
def test_other_families(arch: str, tmp_path: Path) -> None:
    """All of an encoder-decoder is in its file; what it shares is held once."""
    model = build(arch)
    history = {"criterion_name": "x", "optimizer_name": "x", "lr_scheduler_state": {}}
    state = {
        "model": model.state_dict(),
        "optimizer_history": [{**history, "num_updates": 0}],
        "extra_state": {"train_iterator": {"epoch": 1}},
        "cfg": None,
    }
    torch.save(state, tmp_path / "model.pt")
    torch.manual_seed(1)
    assert _read(tmp_path / "model.pt", build(arch)).tensors.keys() == _names(model)


def test_the_fingerprint_sees_one_bit_and_the_set_of_names(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    model = _model(sentence_data)
    name = "encoder.sentence_encoder.layers.1.fc1.bias"
    changed = load_checkpoint(pretrained)["model"][name].clone()
    changed[3] = torch.nextafter(changed[3], torch.tensor(9.0))
    one_bit = _resave(pretrained, tmp_path / "bit.pt", **{name: changed})
    prints = {_read(path, model).fingerprint for path in (pretrained, one_bit)}
    model.get_parameter(name).requires_grad_(False)
    prints.add(_read(pretrained, model).fingerprint)
    assert len(prints) == 3
    assert _read(one_bit, model).fingerprint in prints


def test_bad_files(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    model = _model(sentence_data)
    name = "encoder.sentence_encoder.layers.1.fc1.bias"
    shorter = _resave(pretrained, tmp_path / "shape.pt", **{name: torch.zeros(5)})
    with pytest.raises(
        UserError, match=rf"--finetune-from-model .*shape.pt: holds {name} as \(5,\)"
    ):
        _read(shorter, model)
    nothing = {key: None for key in load_checkpoint(pretrained)["model"]}
    empty = _resave(pretrained, tmp_path / "empty.pt", **{**nothing, "other": torch.zeros(1)})
    with pytest.raises(UserError, match="holds no parameter of this model"):
        _read(empty, model)
    with pytest.raises(UserError, match="does not exist"):
        _read(tmp_path / "missing.pt", model)
