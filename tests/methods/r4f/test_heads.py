"""R4F through fairseq: build, train, save, resume, validate, hub, copies, other checkpoints."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from rxf.errors import UserError
from rxf.methods.r4f.spectral_norm import SpectralNormLinear
from tests.forward.models import batch, build, sentence_logits
from tests.support import (
    HEAD,
    build_from_flags,
    first_batch,
    fork_fairseq_train,
    load_model_state,
    train_flags,
    train_log,
)

R4F = {"criterion": "sentence_prediction_r3f", "spectral_norm_classification_head": True}
SCOPES = {"out_proj": ["out_proj"], "head": ["dense", "out_proj"]}


def normalized(head: Any) -> list[str]:
    return [name for name, m in head.named_modules() if isinstance(m, SpectralNormLinear)]


def norms(head: Any) -> list[float]:
    layers = [m for m in head.modules() if isinstance(m, SpectralNormLinear)]
    weights = [layer.normalized_weight().to(layer.weight_orig.dtype) for layer in layers]
    return [float(torch.linalg.svdvals(w.detach().float())[0]) for w in weights]


@pytest.mark.parametrize("arch", ["roberta", "bart_base"])
@pytest.mark.parametrize("scope", list(SCOPES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_build(arch: str, scope: str, dtype: torch.dtype) -> None:
    flags = {"spectral_norm_classification_head": True, "spectral_norm_scope": scope}
    model = build(arch, **flags).to(dtype)
    head = model.classification_heads[HEAD]
    assert normalized(head) == SCOPES[scope]
    assert norms(head) == pytest.approx([1.0] * len(SCOPES[scope]), abs=1e-3)
    assert model.args.spectral_norm_classification_head


def test_without_the_flag_heads_are_fairseqs_own() -> None:
    head = build("roberta").classification_heads[HEAD]
    assert type(head.out_proj) is torch.nn.Linear


def test_deep_copy_gives_the_same_logits_and_stays_apart() -> None:
    model = build("roberta", spectral_norm_classification_head=True)
    net_input = batch("roberta")
    sentence_logits(model, net_input).sum().backward()
    twin = copy.deepcopy(model)
    assert torch.equal(sentence_logits(twin, net_input), sentence_logits(model, net_input))
    twin.classification_heads[HEAD].out_proj.weight_orig.data.mul_(3)
    assert not torch.equal(
        twin.classification_heads[HEAD].out_proj.weight_orig,
        model.classification_heads[HEAD].out_proj.weight_orig,
    )


def test_both_branches_of_a_packed_or_split_pass_see_one_sigma(sentence_data: Path) -> None:
    losses = []
    for passes in ("packed", "separate", "recompute"):
        flags = train_flags(
            sentence_data, sentence_data, **R4F, r3f_passes=passes, dropout=0, attention_dropout=0
        )
        _, task, model, criterion = build_from_flags(flags)
        model.train().set_num_updates(0)
        torch.manual_seed(8)
        losses.append(float(criterion.train()(model, first_batch(task))[0]))
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def state_of_fairseqs_own(scope_free_model: Any) -> dict[str, torch.Tensor]:
    """The state dict as fairseq's own flag saves it: torch's spectral norm on out_proj."""
    state = dict(scope_free_model.state_dict())
    linear = torch.nn.Linear(16, 3)
    prefix = f"classification_heads.{HEAD}.out_proj."
    theirs = torch.nn.utils.spectral_norm(linear)
    for name in ("weight", "bias"):
        state.pop(prefix + name)
    state.update({prefix + name: tensor for name, tensor in theirs.state_dict().items()})
    return state


@pytest.mark.parametrize("arch", ["roberta", "bart_base"])
def test_a_checkpoint_of_fairseqs_own_flag_loads(arch: str) -> None:
    theirs = state_of_fairseqs_own(build(arch, seed=3))
    raw = theirs[f"classification_heads.{HEAD}.out_proj.weight_orig"].clone()
    model = build(arch, spectral_norm_classification_head=True)
    model.upgrade_state_dict(theirs)
    model.load_state_dict(theirs, strict=True)
    head = model.classification_heads[HEAD]
    assert torch.equal(head.out_proj.weight_orig, raw)
    assert norms(head) == pytest.approx([1.0], abs=1e-3)


def test_the_parameters_have_fairseqs_order() -> None:
    """Optimizer states are matched by position: torch puts weight_orig after bias."""
    model = build("roberta", spectral_norm_classification_head=True)
    theirs = torch.nn.utils.spectral_norm(torch.nn.Linear(4, 2))
    ours = model.classification_heads[HEAD].out_proj
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.parametrize("arch", ["roberta", "bart_base"])
def test_plain_and_normalised_files_load_into_either_model(arch: str) -> None:
    net_input = batch(arch)
    plain = build(arch, seed=3).eval()
    normal = build(arch, seed=4, spectral_norm_classification_head=True).eval()
    outputs = {name: sentence_logits(m, net_input) for name, m in (("p", plain), ("n", normal))}

    state = dict(normal.state_dict())
    plain.upgrade_state_dict(state)
    plain.load_state_dict(state, strict=True)
    torch.testing.assert_close(
        sentence_logits(plain, net_input), outputs["n"], rtol=1e-4, atol=1e-5
    )
    state = dict(build(arch, seed=3).state_dict())
    normal.upgrade_state_dict(state)
    normal.load_state_dict(state, strict=True)
    raw = state[f"classification_heads.{HEAD}.out_proj.weight_orig"]
    assert torch.equal(normal.classification_heads[HEAD].out_proj.weight_orig, raw)


def test_a_head_of_another_size_in_the_file_gives_way(sentence_data: Path) -> None:
    model = build("roberta", spectral_norm_classification_head=True)
    state = dict(build("roberta", heads=False).state_dict())
    other = build("roberta", heads=False, spectral_norm_classification_head=True)
    other.register_classification_head(HEAD, num_classes=5)
    state.update(other.state_dict())
    model.upgrade_state_dict(state)
    model.load_state_dict(state, strict=True)
    assert model.classification_heads[HEAD].out_proj.out_features == 3


def test_bad_flags() -> None:
    with pytest.raises(UserError, match="--spectral-norm-classification-head and --quant-noise"):
        build("roberta", spectral_norm_classification_head=True, quant_noise_pq=0.1)
    with pytest.raises(UserError, match="--spectral-norm-scope dense: unknown"):
        build("roberta", spectral_norm_classification_head=True, spectral_norm_scope="dense")


@pytest.mark.parametrize("scope", list(SCOPES))
def test_train_save_validate_and_hub(sentence_data: Path, tmp_path: Path, scope: str) -> None:
    flags = train_flags(
        sentence_data,
        tmp_path,
        **R4F,
        spectral_norm_scope=scope,
        lr=0.05,
        max_update=8,
        disable_validation=None,
    )
    trained = fork_fairseq_train(*flags)
    best = [e for e in train_log(trained.stdout) if e["tag"] == "valid"][-1]
    state = load_model_state(tmp_path / "checkpoint_last.pt")
    saved = {k for k in state if f"{HEAD}.out_proj" in k}
    prefix = f"classification_heads.{HEAD}.out_proj"
    assert saved == {f"{prefix}.bias", f"{prefix}.weight_orig"}

    checked = fork_fairseq_train(
        str(sentence_data),
        *["--path", tmp_path / "checkpoint_last.pt", "--user-dir", "rxf", "--cpu"],
        *["--task", "sentence_prediction", "--criterion", "sentence_prediction_r3f"],
        *["--num-classes", "2", "--init-token", "0", "--separator-token", "2"],
        *["--batch-size", "5", "--valid-subset", "valid", "--log-format", "json"],
        command="fairseq-validate",
    )
    again = [e for e in train_log(checked.stdout + checked.stderr) if e["tag"] == "valid"][-1]
    assert again["valid_accuracy"] == pytest.approx(best["valid_accuracy"])
    assert again["valid_loss"] == pytest.approx(best["valid_loss"])

    from fairseq.models.roberta import RobertaModel

    hub = RobertaModel.from_pretrained(
        str(tmp_path), "checkpoint_last.pt", data_name_or_path=str(sentence_data), bpe=None
    )
    head = hub.model.classification_heads[HEAD]
    assert normalized(head) == SCOPES[scope]
    assert norms(head) == pytest.approx([1.0] * len(SCOPES[scope]), abs=1e-3)
    tokens = torch.tensor([[0, 5, 6, 2]])
    assert hub.predict(HEAD, tokens).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_ema_copies_and_resumes(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    """fairseq deep-copies the model for --store-ema, which torch's spectral norm does not allow."""
    settings = {**R4F, "store_ema": True, "ema_decay": 0.9, "finetune_from_model": pretrained}
    for stop in (3, 6):
        done = fork_fairseq_train(
            *train_flags(sentence_data, tmp_path, max_update=stop, **settings)
        )
    assert "Loaded checkpoint" in done.stdout + done.stderr
    updates = [e for e in train_log(done.stdout) if e["tag"] == "train_inner"]
    assert [e["num_updates"] for e in updates] == [4, 5, 6]
