"""Which faults a training meets, in which order, and when."""

import random
import signal
from typing import Any, NamedTuple

__all__ = ["BEST", "FAULTS", "LAST", "ROOM", "Fault", "Moment", "faults_of", "moment"]


class Fault(NamedTuple):
    """What is done to a training.

    Attributes:
        does: "signal", sent from outside; "inside", as the faulty plugin has it, or "start",
            a signal while it starts.
        number: of the signal, 0 for none.
        inside: the plugin's words.
        damages: a checkpoint that is cut off somewhere after the process has ended.
    """

    does: str
    number: int = 0
    inside: dict[str, Any] = {}
    damages: str = ""


KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)
LAST, BEST = "checkpoint_last.pt", "checkpoint_best.pt"
FAULTS = {
    "SIGKILL": Fault("signal", KILL),
    "SIGTERM": Fault("signal", TERM),
    "SIGKILL at the start": Fault("start", KILL),
    "SIGKILL in a write": Fault("inside", KILL, {"fault": "signal", "at": "write"}),
    "SIGTERM in a write": Fault("inside", TERM, {"fault": "signal", "at": "write"}),
    "SIGKILL in a copy": Fault("inside", KILL, {"fault": "signal", "at": "copy"}),
    "full disk": Fault("inside", inside={"fault": "full"}),
    "NaN once": Fault("inside", inside={"fault": "nan"}),
    "SIGKILL, last truncated": Fault("signal", KILL, damages=LAST),
    "SIGKILL, best truncated": Fault("signal", KILL, damages=BEST),
}
# The chains of a training by its kind; out of memory is a chain of its own (chains.py).
CHAINS = {
    "sentences": tuple(FAULTS),
    "text": tuple(FAULTS),
    "generation": ("SIGKILL", "SIGTERM in a write", "SIGKILL, last truncated", "full disk"),
}
# A disk with less room than two files take cannot hold a save and its copy; where there is but
# a limit on the size of one file, that limit has to be below one.
ROOM = {True: 1.9, False: 0.9}


class Moment(NamedTuple):
    """When a fault comes: after ``update``, ``seconds`` later, ``share`` of a file's size in."""

    update: int
    seconds: float
    share: float


def faults_of(kind: str, source: random.Random) -> list[str]:
    """The names of a chain's faults, in some order."""
    return source.sample(CHAINS[kind], len(CHAINS[kind]))


def moment(source: random.Random, at: int, total: int, to_come: int) -> Moment:
    """Some moment from update ``at`` on, early enough for the faults that are to come."""
    reach = (total - 1 - at) // (to_come + 1)
    return Moment(at + source.randint(0, reach), source.uniform(0.0, 0.06), source.random())
