"""How fixes get hold of fairseq: wrap a function, stand in for a module, edit what is read."""

import functools
import sys
from types import ModuleType
from typing import Any, Callable

__all__ = ["StandIn", "extend_flags", "replace", "wrap", "wrap_trainer_reading"]


def wrap(owner: Any, name: str, around: Callable) -> None:
    """Let ``around(original, *args, **kwargs)`` run in place of ``owner.name``.

    Args:
        owner: module or class that has the function.
        name: its name there.
        around: gets the original first, then what the caller gave; for a method that
            includes the instance.
    """
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    replace(owner, name, wrapper)


def replace(owner: Any, name: str, new: Any) -> None:
    """Put ``new`` at ``owner.name``, and wherever fairseq imported the old one by name.

    ``from module import name`` makes a second reference that a change of the module
    does not reach, so every module of fairseq is searched for it.
    """
    old = getattr(owner, name)
    setattr(owner, name, new)
    if not isinstance(owner, ModuleType):
        return
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] in ("fairseq", "fairseq_cli") and (
            getattr(module, "__dict__", {}).get(name) is old
        ):
            setattr(module, name, new)


def extend_flags(model: Any, add_flags: Callable[[Any], None]) -> None:
    """Let ``add_flags(parser)`` add to the flags of a class of models, after its own."""
    original: Callable[[Any], None] = model.add_args

    def add_args(parser: Any) -> None:
        original(parser)
        add_flags(parser)

    model.add_args = staticmethod(add_args)


class StandIn(ModuleType):
    """A module for one importer's eyes: some names are replaced, all others are the original's.

    ``checkpoint_utils.torch = StandIn(torch, load=...)`` changes ``torch.load`` for
    that module and for nobody else.
    """

    def __init__(self, original: Any, **replaced: Any) -> None:
        super().__init__(original.__name__)
        self.__dict__.update(replaced)
        self.__dict__["_original"] = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"], name)


def wrap_trainer_reading(edit: Callable[[Any, dict[str, Any]], None]) -> None:
    """Let ``edit(trainer, state)`` change what a trainer reads from its restore file.

    It runs on the ranks that read the file (rank 0 sends the result to the others),
    before fairseq uses any of it.
    """
    if not _edits:
        _listen_to_trainers()
    _edits.append(edit)


_edits: list[Callable[[Any, dict[str, Any]], None]] = []
# The trainer that loads a checkpoint now.
_loading: list[Any] = []


def _listen_to_trainers() -> None:
    from fairseq import checkpoint_utils, trainer

    def load(original: Callable, self: Any, *args: Any, **kwargs: Any) -> Any:
        _loading.append(self)
        try:
            return original(self, *args, **kwargs)
        finally:
            _loading.pop()

    def read(*args: Any, **kwargs: Any) -> Any:
        state = checkpoint_utils.load_checkpoint_to_cpu(*args, **kwargs)
        # Without a model it is another rank's error.
        if "model" in state:
            for edit in _edits:
                edit(_loading[-1], state)
        return state

    wrap(trainer.Trainer, "load_checkpoint", load)
    # What others read meanwhile, from whatever file, is not the trainer's.
    trainer.checkpoint_utils = StandIn(checkpoint_utils, load_checkpoint_to_cpu=read)
