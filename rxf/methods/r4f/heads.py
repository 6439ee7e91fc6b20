"""``--spectral-norm-classification-head`` for RoBERTa, XLM-R and BART, from outside.

fairseq has the flag, but normalises ``out_proj`` alone (the paper: every weight matrix of
the head), iterates once per forward pass (so that R3F's two branches see different sigmas),
cannot copy such a model, and cannot load a checkpoint of it again.  Here its models keep
their own heads, in which the linear layers are replaced.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from fairseq.models.bart import BARTModel
from fairseq.models.roberta import RobertaModel
from torch import nn

from rxf.errors import UserError
from rxf.fairseq_fixes.patching import extend_flags
from rxf.methods.r4f.spectral_norm import SpectralNormLinear
from rxf.methods.r4f.state_dict import add_plain_keys, plain_layers, settle_keys

__all__ = ["SCOPES", "add_flags", "install", "normalize_head"]

# What --spectral-norm-scope says, and the layers of a head that it means.
SCOPES = {"out_proj": ("out_proj",), "head": ("dense", "out_proj")}
MODELS = (RobertaModel, BARTModel)


def install() -> None:
    """Bind the normalised heads to fairseq's models; a second call does nothing."""
    for model in MODELS:
        if "_rxf_spectral_norm" not in vars(model):
            model._rxf_spectral_norm = True
            extend_flags(model, add_flags)
            _wrap_register(model)
            _wrap_upgrade(model)


def normalize_head(head: nn.Module, scope: str) -> None:
    """Replace the linear layers of ``head`` that ``scope`` names by normalised ones.

    Args:
        head: fairseq's classification head, with ``dense`` and ``out_proj``.
        scope: a key of :data:`SCOPES`.

    Raises:
        UserError: an unknown scope.
    """
    if scope not in SCOPES:
        raise UserError(f"--spectral-norm-scope {scope}: unknown; choose {' or '.join(SCOPES)}")
    for name in SCOPES[scope]:
        setattr(head, name, SpectralNormLinear(getattr(head, name)))


def add_flags(parser: Any) -> None:
    """The flags that this adds to the models' own."""
    parser.add_argument(
        "--spectral-norm-scope",
        choices=list(SCOPES),
        default="out_proj",
        help="which weights of the classification head are normalised: out_proj, as "
        "released, or head, every weight matrix, as the paper says",
    )


def _wrap_register(model: Any) -> None:
    original = model.register_classification_head

    def register_classification_head(
        self: Any, name: str, num_classes: Any = None, inner_dim: Any = None, **kwargs: Any
    ) -> None:
        args = self.args
        if not getattr(args, "spectral_norm_classification_head", False):
            original(self, name, num_classes, inner_dim, **kwargs)
            return
        _refuse_quant_noise(args)
        with _plain_head(args):
            original(self, name, num_classes, inner_dim, **kwargs)
        normalize_head(
            self.classification_heads[name], getattr(args, "spectral_norm_scope", "out_proj")
        )

    model.register_classification_head = register_classification_head


def _wrap_upgrade(model: Any) -> None:
    original = model.upgrade_state_dict_named

    def upgrade_state_dict_named(self: Any, state_dict: dict[str, Any], name: str) -> None:
        prefix = (f"{name}." if name else "") + "classification_heads."
        plain = plain_layers(state_dict, prefix)
        add_plain_keys(state_dict, prefix)
        original(self, state_dict, name)
        settle_keys(state_dict, prefix, self.classification_heads, plain)

    model.upgrade_state_dict_named = upgrade_state_dict_named


def _refuse_quant_noise(args: Any) -> None:
    if getattr(args, "quant_noise_pq", 0):
        raise UserError(
            "--spectral-norm-classification-head and --quant-noise-pq both rewrite the weight "
            "of the head: use one of them"
        )


@contextlib.contextmanager
def _plain_head(args: Any) -> Iterator[None]:
    """Let fairseq build the head without its own spectral norm."""
    args.spectral_norm_classification_head = False
    try:
        yield
    finally:
        args.spectral_norm_classification_head = True
