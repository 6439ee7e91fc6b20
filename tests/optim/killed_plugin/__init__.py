"""The plugin, in a process that is killed before update 13."""

import os
import signal
from collections.abc import Callable
from typing import Any

from fairseq.trainer import Trainer

import rxf  # noqa: F401
from rxf.fairseq_fixes.patching import wrap


def _train_step(original: Callable, self: Trainer, *args: Any, **kwargs: Any) -> Any:
    if self.get_num_updates() == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *args, **kwargs)


wrap(Trainer, "train_step", _train_step)
