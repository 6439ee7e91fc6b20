"""rxf with a gradient scaler that scales on a CPU too, for ``--user-dir``."""

from functools import partial

import torch

import rxf  # noqa: F401

# fairseq asks for the one of CUDA, which does nothing without a GPU.
torch.cuda.amp.GradScaler = partial(torch.amp.GradScaler, "cpu")  # type: ignore[misc,assignment]
