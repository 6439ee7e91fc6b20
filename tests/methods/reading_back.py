"""Which lines of rxf make the host wait for a tensor's value: on a GPU each is a halt."""

import traceback
from pathlib import Path
from typing import Any, Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import rxf

ROOT = Path(rxf.__file__).parent


class ReadingBack(TorchDispatchMode):
    """Collects ``file:function`` of what asks for values, or for how many there are.

    Only what rxf's own lines ask for; fairseq's are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: Any = None
    ) -> Any:
        if _waits(func, args):
            frames = [f for f in traceback.extract_stack() if "/torch/" not in f.filename]
            caller = Path(frames[-2].filename)
            if caller.is_relative_to(ROOT):
                self.found.add(f"{caller.relative_to(ROOT)}:{frames[-2].name}")
        return func(*args, **(kwargs or {}))


def _waits(func: Callable, args: tuple) -> bool:
    name = func.overloadpacket.__name__ if hasattr(func, "overloadpacket") else str(func)
    if name == "index":
        return any(torch.is_tensor(i) and i.dtype is torch.bool for i in args[1])
    return name in ("_local_scalar_dense", "nonzero", "masked_select", "item", "equal")
