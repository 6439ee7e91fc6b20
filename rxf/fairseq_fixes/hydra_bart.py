"""BART fine-tunes by ``fairseq-hydra-train`` as it does by ``fairseq-train``.

Symptom: with ``model._name: bart_large`` in a YAML a pre-trained file cannot be loaded
("Cannot load model parameters from checkpoint", above it "invalid argument task"), and
classification heads cannot be built.  The model's settings become a ``TransformerConfig``,
which takes over those it has no field for (``task``, ``pooler_activation_fn``) from a
Namespace alone; of a config it copies OmegaConf's own attributes in their place.  (Measured.)

Why this mends it: a config is handed on as the Namespace that the command line would have
made, with the name of the task that BART asks for.  A Namespace passes as it is.
"""

from argparse import Namespace
from typing import Any

from fairseq.models.transformer import TransformerModel
from omegaconf import OmegaConf

from rxf.fairseq_fixes import Fix


def _apply() -> None:
    original = vars(TransformerModel)["build_model"].__func__

    def build_model(cls: Any, args: Any, task: Any) -> Any:
        return original(cls, _as_namespace(args, task), task)

    # Not wrapped where it is looked up, which would bind it to this class for all subclasses.
    TransformerModel.build_model = classmethod(build_model)


def _as_namespace(args: Any, task: Any) -> Any:
    if not OmegaConf.is_config(args):
        return args
    name = getattr(getattr(task, "cfg", None), "_name", None)
    values: Any = OmegaConf.to_container(args, resolve=True)
    return Namespace(**{"task": name, **values})


FIX = Fix(
    name="hydra-bart",
    symptom="a BART named in a YAML for fairseq-hydra-train cannot load its pre-trained file",
    reference="measured on fairseq 0.12.2",
    apply=_apply,
)
