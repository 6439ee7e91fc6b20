"""What part of the network a parameter is, told by its dotted name and the module that holds it.

One rule reads all names: of the parts of a name the outermost telling one decides.  So
``classification_heads.x.layers.0.weight`` belongs to a head and
``layers.0.self_attn.output_projection.weight`` to a layer.

Names are those within the model (``module.`` of DDP taken off).  A weight that two modules
share has the name that ``named_parameters`` gives it, the first: in fairseq's models a tied
output projection is thereby the token embedding.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

__all__ = ["component", "is_norm_or_bias", "layer_depths"]

# The group that matches is the kind of place.  `embed_out` is an output projection of
# fairseq's older models; what `below` lists stands between the embeddings and the layers.
_PLACE = re.compile(
    r"""(?: ^ | (?<=\.) )
    (?: (?P<head> classification_heads \. [^.]+ (?=\.) | lm_head )
      | (?P<output> output_projection | embed_out )
      | (?P<layer> layers \. [0-9]+ )
      | (?P<embedding> embed_[^.]* | [^.]*embeddings? )
      | (?P<below> emb_layer_norm | project_in_dim | quant_noise )
    )
    (?= \. | $ )""",
    re.VERBOSE,
)
# The last is the common base of batch and instance normalisation.
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
# apex's do not derive from torch's, and apex need not be there to be imported.
_NORM_NAMES = ("LayerNorm", "RMSNorm")


def component(name: str, module: nn.Module) -> str:
    """The component of the network that a parameter belongs to, such as one projection.

    Args:
        name: of the parameter, within the model.
        module: the module that holds the parameter directly.

    Returns:
        ``embeddings`` for every embedding of the model; the path of the head for all in a
        classification head or an ``lm_head``; ``LAYER.norms`` for every normalisation
        layer within a transformer layer, ``PARENT.norms`` for one outside of them; the
        path of ``module`` for anything else, or ``name`` where the model itself holds it.
    """
    place = _place(name)
    holder = name.rpartition(".")[0]
    if place.kind == "head":
        return place.path
    if _is_norm(module):
        parent = place.path if place.kind == "layer" else holder.rpartition(".")[0]
        return f"{parent}.norms" if parent else "norms"
    if place.kind == "embedding" or (not place.kind and isinstance(module, nn.Embedding)):
        return "embeddings"
    return holder or name


def is_norm_or_bias(name: str, module: nn.Module) -> bool:
    """Whether weight decay is usually kept off this parameter.

    Args:
        name: of the parameter; its last part tells a bias (``bias``, ``bias_k``,
            ``in_proj_bias``, ...).
        module: the module that holds the parameter directly; its class tells a
            normalisation layer, of which every parameter counts.

    Returns:
        True for biases and for the parameters of normalisation layers.
    """
    return "bias" in name.rpartition(".")[2].split("_") or _is_norm(module)


def layer_depths(names: Sequence[str]) -> dict[str, int]:
    """How many layers below the top of the network each parameter lies.

    Args:
        names: of all parameters of one model.  The highest layer named is taken to be the
            top one, so do not leave out those that are frozen.

    Returns:
        name -> depth.  0: heads, output projections and what else is above the layers;
        1: the top layer, and so on; one more than the lowest layer: embeddings, their
        normalisation and projection.  An encoder under a decoder lies below all of its
        layers, its final normalisation at the depth of its own top layer.  Stacks side by
        side (one per language) are counted from their tops; the deepest sets the rest.
    """
    places = {name: _place(name) for name in names}
    sizes = _stack_sizes(places.values())
    decoder = max((size for stack, size in sizes.items() if _has(stack, "decoder")), default=0)
    encoder = max((size for stack, size in sizes.items() if not _has(stack, "decoder")), default=0)

    def depth(name: str, place: _Place) -> int:
        if place.kind == "layer":
            top = 0 if _has(place.stack, "decoder") else decoder
            return top + sizes[place.stack] - place.index
        if place.kind in ("embedding", "below"):
            return decoder + encoder + 1
        if not place.kind and decoder and _has(name, "encoder") and not _has(name, "decoder"):
            return decoder + 1
        return 0

    return {name: depth(name, place) for name, place in places.items()}


@dataclass(frozen=True)
class _Place:
    """The outermost telling part of a name: its kind ("" if none), and the path up to it."""

    kind: str
    path: str

    @property
    def stack(self) -> str:
        """Of a layer: the path of the list it is in."""
        return self.path.rpartition(".")[0]

    @property
    def index(self) -> int:
        """Of a layer: its number, from the bottom."""
        return int(self.path.rpartition(".")[2])


def _place(name: str) -> _Place:
    found = _PLACE.search(name)
    return _Place(found.lastgroup or "", name[: found.end()]) if found else _Place("", "")


def _stack_sizes(places: Iterable[_Place]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for place in places:
        if place.kind == "layer":
            sizes[place.stack] = max(sizes.get(place.stack, 0), place.index + 1)
    return sizes


def _has(path: str, part: str) -> bool:
    return part in path.split(".")


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or any(
        base.__name__.endswith(_NORM_NAMES) for base in type(module).__mro__
    )
