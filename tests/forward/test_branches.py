"""Packed, separate and recomputed passes give one result; dropout can be shared."""

from typing import Any

import pytest
import torch

from rxf.divergence import symmetric_kl
from rxf.forward import BranchPlan, two_branches
from tests.forward.models import batch, build, sentence_logits, token_logits

FAMILIES = [
    ("roberta", sentence_logits),
    ("bart_base", sentence_logits),
    ("mbart_base", token_logits),
    ("transformer", token_logits),
]
PLANS = {
    "packed": BranchPlan("packed"),
    "separate": BranchPlan("separate"),
    "recompute": BranchPlan("recompute"),
}


def fixed_noise(shape: tuple[int, ...], detach: bool = True, scale: float = 0.1) -> Any:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(9)) * scale

    def perturb(embeddings: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        start = embeddings.detach() if detach else embeddings
        return start + noise.masked_fill(padding.unsqueeze(-1), 0)

    return perturb


def loss_and_gradients(
    arch: str, call: Any, plan: BranchPlan, detach: bool, **shape: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model, net_input = build(arch).train(), batch(arch, **shape)
    perturb = fixed_noise((*net_input["src_tokens"].shape, 16), detach)
    clean, noised = two_branches(model, net_input, call, perturb, plan)
    loss = clean.float().log_softmax(-1)[..., 0].sum() + symmetric_kl(clean, noised)
    loss.backward()
    return loss, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_same(got: Any, wanted: Any) -> None:
    torch.testing.assert_close(got[0], wanted[0], rtol=1e-6, atol=1e-6)
    assert got[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(got[1][name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize(("arch", "call"), FAMILIES)
def test_all_plans_agree(arch: str, call: Any, detach: bool) -> None:
    wanted = loss_and_gradients(arch, call, PLANS["separate"], detach)
    for name in ("packed", "recompute"):
        assert_same(loss_and_gradients(arch, call, PLANS[name], detach), wanted)


@pytest.mark.parametrize("rows", [1, 5])
def test_batch_of_one_and_odd_sizes(rows: int) -> None:
    shape = {"rows": rows, "length": 5}
    wanted = loss_and_gradients("roberta", sentence_logits, PLANS["separate"], True, **shape)
    for name in ("packed", "recompute"):
        got = loss_and_gradients("roberta", sentence_logits, PLANS[name], True, **shape)
        assert_same(got, wanted)


def dropout_branches(plan: BranchPlan, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    model = build("roberta", dropout=0.3, attention_dropout=0.3, encoder_layerdrop=0.2).train()
    net_input = batch("roberta")
    torch.manual_seed(4)
    perturb = fixed_noise((3, 7, 16), scale=scale)
    return two_branches(model, net_input, sentence_logits, perturb, plan)


def test_shared_dropout_leaves_the_noise_alone() -> None:
    shared = BranchPlan("separate", share_dropout=True)
    clean, noised = dropout_branches(shared, scale=0.0)
    assert torch.equal(clean, noised)
    clean, noised = dropout_branches(shared, scale=0.1)
    assert not torch.equal(clean, noised)
    clean, noised = dropout_branches(PLANS["separate"], scale=0.0)
    assert not torch.equal(clean, noised)


def test_shared_dropout_does_not_touch_the_stream_that_follows() -> None:
    model, net_input = build("roberta", dropout=0.3).train(), batch("roberta")
    torch.manual_seed(4)
    sentence_logits(model, net_input)
    expected = torch.rand(3)
    torch.manual_seed(4)
    plan = BranchPlan("separate", share_dropout=True)
    two_branches(model, net_input, sentence_logits, fixed_noise((3, 7, 16)), plan)
    assert torch.equal(torch.rand(3), expected)


def test_recompute_replays_its_dropout() -> None:
    """The gradient is that of the branch that was seen: equal to keeping its activations."""

    def gradients(keep: bool) -> list[torch.Tensor]:
        model = build("roberta", dropout=0.3).train()
        net_input, perturb = batch("roberta"), fixed_noise((3, 7, 16))
        torch.manual_seed(4)
        if keep:  # the order of the recomputed plan: the noised branch first
            from rxf.forward import perturbed_embeddings

            with perturbed_embeddings(model, perturb):
                noised = sentence_logits(model, net_input)
            clean = sentence_logits(model, net_input)
        else:
            clean, noised = two_branches(
                model, net_input, sentence_logits, perturb, PLANS["recompute"]
            )
        symmetric_kl(clean, noised).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    for kept, recomputed in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(kept, recomputed)


def test_no_gradient_through_the_noised_branch() -> None:
    plan = BranchPlan("separate", noised_gradient=False)
    model, net_input = build("roberta").train(), batch("roberta")
    perturb = fixed_noise((3, 7, 16))
    clean, noised = two_branches(model, net_input, sentence_logits, perturb, plan)
    assert clean.requires_grad and not noised.requires_grad


@pytest.mark.parametrize("plan", list(PLANS.values()), ids=list(PLANS))
def test_bf16_autocast_stays_finite(plan: BranchPlan) -> None:
    model, net_input = build("roberta", dropout=0.1).train(), batch("roberta")
    with torch.autocast("cpu", torch.bfloat16):
        clean, noised = two_branches(
            model, net_input, sentence_logits, fixed_noise((3, 7, 16)), plan
        )
        loss = symmetric_kl(clean, noised)
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def saved_bytes(run: Any) -> int:
    """What the forward pass keeps for the backward one, each storage counted once."""
    storages: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        kept.append(tensor)
        return tensor

    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storages.values())


def test_recompute_keeps_the_activations_of_one_pass() -> None:
    model, net_input = build("roberta", dropout=0.1).train(), batch("roberta", rows=8, length=30)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kept = {
        name: saved_bytes(
            lambda plan=plan: two_branches(
                model, net_input, sentence_logits, fixed_noise((8, 30, 16)), plan
            )
        )
        for name, plan in PLANS.items()
    }
    one = saved_bytes(lambda: sentence_logits(model, net_input))
    activations = {name: size - weights for name, size in kept.items()}
    assert activations["recompute"] < 1.2 * (one - weights)
    assert activations["packed"] > 1.7 * (one - weights)
