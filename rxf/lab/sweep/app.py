"""``python -m rxf.lab.sweep``: the Hydra app whose multirun is the sweep.

A job of it starts ``fairseq-hydra-train`` as a process of its own and waits for it: within
one process fairseq's best score leaks from run to run, and under joblib's workers fairseq's
data loaders cannot start ("'Process' object has no attribute 'env'": a worker's own children
would have to be joblib's, too).
"""

import os
import signal
import threading
import time
from typing import Any

import hydra

from rxf.lab.runs import sigterm_is_ctrl_c
from rxf.lab.sweep.one_run import work

__all__ = ["PARENT", "job", "main"]

# Names the process that started the app, in the environment.
PARENT = "RXF_SWEEP_PARENT"
_POLL_SECONDS = 0.5
# More than a run is given to end.
_PATIENCE_SECONDS = 12
_watched = threading.Event()


def job(config: Any) -> None:
    """One run; what Hydra's launcher calls, in whichever process."""
    end_with(os.getppid())
    work(config)


def end_with(parent: int) -> None:
    """End this process soon after its parent, also after one that was killed.

    A killed sweep must not go on behind its user's back, with the next one in its way.
    """
    if not _watched.is_set():
        _watched.set()
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    # A worker of joblib's takes the run's end for an error of its job, and waits for the next.
    time.sleep(_PATIENCE_SECONDS)
    os._exit(1)


def main() -> None:
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        end_with(int(parent))
    # By Ctrl-C joblib ends its workers, and by SIGTERM it would not.
    with sigterm_is_ctrl_c():
        hydra.main(version_base="1.3", config_path=None, config_name="sweep")(job)()
