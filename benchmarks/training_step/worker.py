"""One peer in a process of its own: sets up, then does what each line of its input asks for.

    python -m benchmarks.training_step.worker

Lines in and out are JSON.  The first line in is the order, ``{"setting", "peer", "warm_up",
"folder"}``;
each further one is "turn" (an update with every batch, on the clock), "parts", "operations" or
"memory".
Between lines it waits for its input and takes no processor.
"""

import gc
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable, TextIO

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import fairseq_trainer, harness
from benchmarks.training_step import training
from benchmarks.training_step.parts import Clock, timed_parts
from benchmarks.training_step.setting import Setting

__all__ = ["Counting", "Training", "main", "serve"]

# Turns that may be lost to half precision's search for its loss scale.
OVERFLOWS = 50


class Training:
    """A peer that is ready to make updates.

    Args:
        order: the setting and the peer as JSON has them, and the folder for its files.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        setting, peer = Setting(**order["setting"]), order["peer"]
        folder = Path(order["folder"])
        # What is imported by the way is nobody's update.
        import fairseq.trainer

        if peer["plugin"]:
            import rxf  # noqa: F401
        if peer["upstream"]:
            import fairseq.examples.rxf.rxf_src  # noqa: F401
        training.write_data(folder / "data", setting)
        if peer["needs_file"]:
            training.write_start(setting, peer, folder)
        gc.collect()
        self.baseline = harness.resident_now()
        words = training.arguments(setting, peer, folder)
        self.trainer = fairseq_trainer.build_trainer(words)
        self.batches = fairseq_trainer.batches_of(self.trainer, setting.batches)

    def facts(self) -> dict[str, Any]:
        """What a table says of it."""
        parameters = sum(p.numel() for p in self.trainer.get_model().parameters())
        shapes = [list(batch["net_input"]["src_tokens"].shape) for batch in self.batches]
        return {
            "parameters": parameters,
            "tokens": sum(map(training.tokens_of, self.batches)) / len(self.batches),
            "shapes": shapes,
            "threads": torch.get_num_threads(),
            "imports_rxf": "rxf" in sys.modules,
        }

    def updates(self) -> None:
        """An update with each batch."""
        for batch in self.batches:
            fairseq_trainer.one_update(self.trainer, [batch])

    def whole(self, run: Callable[[], Any]) -> Any:
        """What ``run``, which makes the updates, returns when none of them was skipped.

        Raises:
            RuntimeError: half precision finds no loss scale.
        """
        for _ in range(OVERFLOWS):
            before = self.trainer.get_num_updates()
            told = run()
            if self.trainer.get_num_updates() >= before + len(self.batches):
                return told
        raise RuntimeError(f"half precision finds no loss scale in {OVERFLOWS} turns")

    def turn(self) -> dict[str, Any]:
        """Seconds of an update: the mean over the batches."""
        gc.collect()
        return {"seconds": self.whole(self._timed) / len(self.batches)}

    def _timed(self) -> float:
        harness.synchronize()
        start = time.perf_counter()
        self.updates()
        harness.synchronize()
        return time.perf_counter() - start

    def parts(self) -> dict[str, Any]:
        """Seconds of each part of an update: the mean over the batches."""
        seconds = self.whole(self._timed_parts)
        return {name: value / len(self.batches) for name, value in seconds.items()}

    def _timed_parts(self) -> dict[str, float]:
        clock = Clock()
        with timed_parts(self.trainer, clock):
            self.updates()
        return clock.seconds

    def operations(self) -> dict[str, Any]:
        """How many operations of torch an update is: the mean over the batches."""
        return {"operations": self.whole(self._counted) / len(self.batches)}

    def _counted(self) -> int:
        with Counting() as counting:
            self.updates()
        return counting.operations

    def memory(self) -> dict[str, Any]:
        """MiB at the peak of an update; asked for last, as it changes the update a little."""
        fairseq_trainer.keep_peak(self.trainer)
        return {"mib": harness.peak_memory(self.updates, self.baseline)}


class Counting(TorchDispatchMode):
    """Counts what torch is asked to do, in backward passes too; a view of a tensor is nothing.

    On a GPU each is a launch or a few: where it waits for these, they are what an update costs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.operations += not func.is_view
        return func(*args, **(kwargs or {}))


def serve(order: dict[str, Any], lines: TextIO, answer: Callable[[dict[str, Any]], None]) -> None:
    """Set up, warm up, and answer each line."""
    peer = Training(order)
    for _ in range(order["warm_up"]):
        peer.whole(peer.updates)
    answer(peer.facts())
    for line in lines:
        answer(getattr(peer, json.loads(line))())


def main() -> None:
    # What fairseq prints must not come between the answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)

    def answer(told: dict[str, Any]) -> None:
        print(json.dumps(told), file=out, flush=True)

    try:
        serve(json.loads(sys.stdin.readline()), sys.stdin, answer)
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}".splitlines()[0]})
        raise


if __name__ == "__main__":
    main()
