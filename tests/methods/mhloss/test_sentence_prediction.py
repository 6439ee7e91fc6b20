"""The criterion against its formula, against plain training, and at its edges."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from fairseq.trainer import Trainer

from rxf.errors import UserError
from tests.support import (
    HEAD,
    STILL,
    assert_bit_equal,
    build_from_flags,
    first_batch,
    train_flags,
    used_parameters,
    write_sentence_data,
)

BART = {"arch": "bart_base", "decoder_layers": 1, "decoder_attention_heads": 2}
BART |= {"add_prev_output_tokens": True, "max_source_positions": 64}
MODELS = {"roberta": {}, "bart": BART}
KINDS = {"two": {}, "three": {"classes": 3}, "number": {"regression": True}}


@pytest.fixture(scope="module")
def data_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("data")
    return {kind: write_sentence_data(folder / kind, **how) for kind, how in KINDS.items()}


def build(data: Path, **flags: Any) -> tuple[Any, Any, Any]:
    settings = {"criterion": "sentence_prediction_mhloss", **STILL, **flags}
    _, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    criterion.build_for(model)
    return task, model.train(), criterion.train()


def trainer_with(data: Path, **flags: Any) -> tuple[Trainer, Any]:
    settings = {"criterion": "sentence_prediction_mhloss", "dropout": 0.2, **flags}
    cfg, task, model, criterion = build_from_flags(train_flags(data, data / "none", **settings))
    trainer = Trainer(cfg, task, model, criterion)
    trainer.get_train_iterator(1)
    trainer.begin_epoch(1)
    return trainer, task


def gradients(model: Any, criterion: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    named = [*model.named_parameters(), *criterion.named_parameters()]
    for _, parameter in named:
        parameter.grad = None
    loss.backward()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def shared_features(model: Any, net_input: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the last layer of the head is given, the head written out; without dropout."""
    features, _ = model(**net_input, features_only=True)
    if hasattr(model, "decoder"):
        ends = [int(row.eq(2).nonzero()[-1]) for row in net_input["src_tokens"]]
        sentence = torch.stack([features[row, end] for row, end in enumerate(ends)])
    else:
        sentence = features[:, 0]
    return torch.tanh(model.classification_heads[HEAD].dense(sentence))


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16 autocast"])
@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", MODELS)
def test_equals_the_formula(
    data_of: Any, family: str, kind: str, rows: int, autocast: bool
) -> None:
    task, model, criterion = build(data_of[kind], mhloss_heads=3, **MODELS[family])
    sample = first_batch(task, size=rows)
    targets = sample["target"].view(-1)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, size, logged = criterion(model, sample)
        got = gradients(model, criterion, loss)
        shared = shared_features(model, sample["net_input"])
        each = [F.linear(shared, head.weight, head.bias).float() for head in criterion.heads]
    if kind == "number":
        losses = [(logits.squeeze(1) - targets).pow(2).sum() for logits in each]
    else:
        losses = [-logits.log_softmax(1)[range(rows), targets].sum() for logits in each]
    assert len(losses) == 3 and losses[0] != losses[1] != losses[2]
    wanted = (losses[0] + losses[1] + losses[2]) / 3
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-5)
    assert size == rows and logged["nll_loss"] == loss
    if kind != "number":
        right = sum(each).argmax(1) == targets  # of the averaged logits
        assert logged["ncorrect"] == right.sum()

    expected = gradients(model, criterion, wanted)
    assert got.keys() == expected.keys()
    assert {f"heads.{number}.weight" for number in range(3)} <= got.keys()
    assert f"classification_heads.{HEAD}.out_proj.weight" not in got
    # Of each parameter, by the size of all: some gradients are rounding and nothing else.
    size_of_all = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        apart = (got[name] - gradient).norm() / size_of_all
        assert apart <= (3e-2 if autocast else 1e-5), (name, apart)


def test_one_head_is_plain_training_with_that_head(data_of: Any) -> None:
    """Dropout on, several updates: bit by bit, the head being the same at the start."""
    ours, task = trainer_with(data_of["two"], mhloss_heads=1, weight_decay=0.1)
    stock = {"criterion": "sentence_prediction_r3f", "r3f_lambda": 0.0}  # bit for bit
    plain, _ = trainer_with(data_of["two"], weight_decay=0.1, **stock)
    plain.get_model().load_state_dict(ours.get_model().state_dict())
    for _ in range(3):
        for trainer in (ours, plain):
            trainer.train_step([first_batch(task)])
    own, theirs = ours.get_model().state_dict(), plain.get_model().state_dict()
    assert_bit_equal(used_parameters(own), used_parameters(theirs))
    out_proj = own[f"classification_heads.{HEAD}.out_proj.weight"]
    assert torch.equal(out_proj, ours.get_criterion().heads[0].weight)


def test_after_each_update_the_model_has_the_mean(data_of: Any) -> None:
    trainer, task = trainer_with(data_of["three"], mhloss_heads=4)
    out_proj = trainer.get_model().classification_heads[HEAD].out_proj
    found = []
    for _ in range(3):
        heads = trainer.get_criterion().heads
        for name in ("weight", "bias"):
            mean = sum(head.get_parameter(name).double() for head in heads) / 4
            torch.testing.assert_close(out_proj.get_parameter(name).double(), mean)
        found.append(out_proj.weight.detach().clone())
        trainer.train_step([first_batch(task)])
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])
    assert not torch.equal(heads[0].weight, heads[1].weight)


def test_two_micro_batches_are_one(data_of: Any) -> None:
    task, model, criterion = build(data_of["two"])
    whole = first_batch(task)
    wanted = gradients(model, criterion, criterion(model, whole)[0])
    parts = []
    for half in (slice(0, 4), slice(4, 8)):
        part = {**whole, "target": whole["target"][half], "ntokens": 0}
        part["net_input"] = {k: v[half] for k, v in whole["net_input"].items()}
        parts.append(gradients(model, criterion, criterion(model, part)[0]))
    for name, gradient in wanted.items():
        together = parts[0][name] + parts[1][name]
        torch.testing.assert_close(together, gradient, rtol=1e-5, atol=1e-5, msg=name)


def test_extra_padding_changes_nothing(data_of: Any) -> None:
    task, model, criterion = build(data_of["two"])
    sample = first_batch(task)
    loss, _, _ = criterion(model, sample)
    tokens = sample["net_input"]["src_tokens"]
    sample["net_input"]["src_tokens"] = F.pad(tokens, (0, 5), value=1)
    torch.testing.assert_close(criterion(model, sample)[0], loss, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["two", "number"])
def test_validation_is_stock_on_the_models_own_head(data_of: Any, kind: str) -> None:
    task, model, criterion = build(data_of[kind])
    model.eval(), criterion.eval()
    loss, _, _ = criterion(model, first_batch(task))
    cfg = SentencePredictionConfig(
        classification_head_name=HEAD, regression_target=kind == "number"
    )
    stock = SentencePredictionCriterion(cfg, task).eval()
    assert torch.equal(loss, stock(model, first_batch(task))[0])


def test_training_without_heads_is_a_mistake(data_of: Any) -> None:
    flags = train_flags(data_of["two"], data_of["two"], criterion="sentence_prediction_mhloss")
    _, task, model, criterion = build_from_flags(flags)
    with pytest.raises(RuntimeError, match="call build_for"):
        criterion(model.train(), first_batch(task))


def test_training_takes_one_forward_and_leaves_no_hook(data_of: Any) -> None:
    task, model, criterion = build(data_of["two"])
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    criterion(model, first_batch(task))
    assert len(forwards) == 1
    assert not model.classification_heads[HEAD].out_proj._forward_pre_hooks


def test_the_heads_start_by_the_seed(data_of: Any) -> None:
    starts = []
    for seed in (1, 1, 2):
        _, task, model, criterion = build_from_flags(
            train_flags(data_of["two"], data_of["two"], criterion="sentence_prediction_mhloss")
        )
        torch.manual_seed(seed)
        criterion.build_for(model)
        starts.append(criterion.heads[0].weight)
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_the_models_own_last_layer_is_not_trained(data_of: Any) -> None:
    """It holds the mean, and DDP would wait for gradients that never come."""
    trainer, _ = trainer_with(data_of["two"])
    own = trainer.get_model().classification_heads[HEAD].out_proj
    assert not any(parameter.requires_grad for parameter in own.parameters())


@pytest.mark.parametrize("heads", [0, -2])
def test_too_few_heads(data_of: Any, heads: int) -> None:
    with pytest.raises(UserError, match=f"^--mhloss-heads {heads}: .* of 1 or more$"):
        build(data_of["two"], mhloss_heads=heads)


@pytest.mark.parametrize(
    "flags",
    [
        {"spectral_norm_classification_head": True},
        {"spectral_norm_classification_head": True, "spectral_norm_scope": "head"},
        {"quant_noise_pq": 0.1},
    ],
    ids=str,
)
def test_heads_that_are_more_than_linear_are_refused(data_of: Any, flags: dict[str, Any]) -> None:
    with pytest.raises(UserError) as error:
        trainer_with(data_of["two"], **flags)
    assert "--spectral-norm-classification-head, --quant-noise-pq" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_without_the_head(data_of: Any) -> None:
    _, model, criterion = build(data_of["two"])
    del model.classification_heads[HEAD]
    with pytest.raises(UserError, match=f"--classification-head-name {HEAD}: RobertaModel"):
        criterion.build_for(model)
