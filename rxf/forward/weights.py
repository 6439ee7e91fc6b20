"""A model with other weights, or in another mode, for a while."""

import contextlib
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from rxf.forward.adapters import unwrapped

__all__ = ["evaluating", "replaced_weights"]


@contextlib.contextmanager
def evaluating(*roots: nn.Module) -> Iterator[None]:
    """Within this context the modules are in evaluation mode; then each is as it was."""
    before = [(module, module.training) for root in roots for module in root.modules()]
    for root in roots:
        root.eval()
    try:
        yield
    finally:
        # Not by train(), which would set the children too.
        for module, was_training in before:
            module.training = was_training


@contextlib.contextmanager
def replaced_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within this context other tensors stand in the place of parameters.

    A wrapper around the model does not notice; it finds the parameters in the graph of what
    stands in for them, if they are there.  ``torch.func.functional_call`` would do, but for
    modules that are there twice (BART's embeddings): these it does not put back as they were
    (torch 2.13).

    Args:
        model: in its wrappers or not.
        tensors: name of the parameter, out of the wrappers -> what stands in for it,
            wherever it is used.
    """
    inner = unwrapped(model)
    instead = {id(inner.get_parameter(name)): tensor for name, tensor in tensors.items()}
    places = [
        (module._parameters, key, parameter)
        for module in inner.modules()
        for key, parameter in module._parameters.items()
        if id(parameter) in instead
    ]
    try:
        for held, key, parameter in places:
            held[key] = instead[id(parameter)]  # type: ignore[assignment]
        yield
    finally:
        for held, key, parameter in places:
            held[key] = parameter
