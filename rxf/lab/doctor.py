"""`rxf doctor`: what is installed, which fixes and methods there are, proof of the noise."""

import argparse
import importlib.metadata
import platform
import sys
from argparse import Namespace
from typing import Any

__all__ = ["add_arguments", "noise_reaches_the_logits", "run"]

PACKAGES = ["rxf", "fairseq", "torch", "numpy", "scipy", "hydra-core", "omegaconf"]
EPS = (0.0, 1e-4, 1e-3, 1e-2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Returns:
        1 where the noise does not reach the logits, or fairseq does not know a method.
    """
    import rxf
    from rxf import fairseq_fixes

    print(f"python       {platform.python_version()} ({sys.executable})")
    for name in PACKAGES:
        print(f"{name:<12} {_version(name)}")
    print(f"rxf is at    {rxf.__path__[0]}")
    print(f"fairseq at   {_fairseq_origin()}")

    print("\nFixes to fairseq (RXF_FIXES=off, or a comma-separated list, turns them off):")
    for fix in fairseq_fixes.all_fixes():
        state = "on " if fairseq_fixes.status()[fix.name] else "OFF"
        print(f"  {state} {fix.name:<24} {fix.symptom}")

    print("\nMethods (what turns each on; `rxf methods` says more):")
    unknown = _print_methods()

    print("\nR3F on a tiny RoBERTa without dropout, symmetric KL per sentence in nats:")
    divergences = noise_reaches_the_logits()
    for eps, divergence in divergences.items():
        print(f"  --eps {eps:<8g} {divergence:.3e}")
    values = list(divergences.values())
    works = values[0] < 1e-9 and all(a < b for a, b in zip(values, values[1:], strict=False))
    verdict = (
        "0 without noise, and grows with it: the noise reaches the logits"
        if works
        else "BROKEN: the noise does not reach the logits as it should"
    )
    print(f"  {verdict}")
    return 0 if works and not unknown else 1


def _print_methods() -> int:
    """One line for each method and kind; returns how many fairseq would not know."""
    from rxf.lab.methods.surface import KINDS, fairseq_knows, switch
    from rxf.methods.registry import methods

    kinds = [(method, kind) for method in methods() for kind in KINDS if switch(method, kind)]
    unknown = 0
    for method, kind in kinds:
        known = fairseq_knows(method, kind)
        unknown += not known
        state = "on " if known else "NOT REGISTERED"
        print(f"  {state} {method.name:<9} {kind:<11} {switch(method, kind)}")
    for method in methods():
        if method.recipe:
            print(f"  on  {method.name:<9} {'recipe':<11} {method.recipe}")
    return unknown


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _fairseq_origin() -> str:
    import fairseq

    mended = "+rxf" in _version("fairseq")
    kind = "the wheel of scripts/build_fairseq.sh" if mended else "a stock fairseq"
    return f"{fairseq.__path__[0]} ({kind})"


def noise_reaches_the_logits() -> dict[float, float]:
    """Symmetric KL between clean and noised predictions of a tiny RoBERTa, for several eps.

    Returns:
        eps to nats per sentence; 0 at eps 0, growing with eps where the noise arrives.
    """
    import torch

    from rxf.divergence import symmetric_kl
    from rxf.forward import BranchPlan, NoiseStream, two_branches
    from rxf.methods.r3f.noising import EmbeddingNoise

    torch.manual_seed(1)
    model = _tiny_roberta()
    tokens = torch.randint(4, 30, (8, 12))

    def logits(model: Any, net_input: dict[str, Any]) -> torch.Tensor:
        return model(**net_input, features_only=True, classification_head_name="doctor")[0]

    measured = {}
    for eps in EPS:
        noise = EmbeddingNoise(NoiseStream(), "uniform", eps, detach=True)
        with torch.no_grad():
            branches = two_branches(model, {"src_tokens": tokens}, logits, noise, BranchPlan())
        measured[eps] = float(symmetric_kl(*branches)) / len(tokens)
    return measured


def _tiny_roberta() -> Any:
    from fairseq.data import Dictionary
    from fairseq.models.roberta import RobertaModel

    import rxf  # noqa: F401

    dictionary = Dictionary()
    for number in range(26):
        dictionary.add_symbol(f"w{number}")
    args = Namespace(
        encoder_layers=2,
        encoder_embed_dim=32,
        encoder_ffn_embed_dim=64,
        encoder_attention_heads=2,
        max_positions=32,
        dropout=0.0,
        attention_dropout=0.0,
    )
    model = RobertaModel.build_model(args, Namespace(source_dictionary=dictionary))
    model.register_classification_head("doctor", num_classes=3)
    return model.train()
