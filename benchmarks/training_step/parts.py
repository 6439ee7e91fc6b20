"""Which part of an update takes how long: a clock put around functions from outside.

Each moment counts for the innermost part that is running, so that the parts of an update add
up to the whole.  On a GPU the clock waits for the device wherever a part begins or ends: such
an update is slower than an undisturbed one, and only its shares are of interest.

* noise: drawing it, and in rxf adding it (fairseq's R3F adds it in its criterion);
* embedding, encoder: the text encoder's forward, its embedding among it, also where it runs
  again in the backward pass (``--r3f-passes recompute``);
* decoder: its layers;
* head: the classification head, or the output projection where that is a step of its own;
* loss: all else that the criterion does: cross-entropy, divergence, what it logs.  rxf's loss
  of generation has the projection and the gradients of logits and projection in it;
* backward: the backward pass, and what a criterion differentiates itself;
* optimizer: clearing, scaling, clipping and the step;
* rest: all else in the trainer, logging mostly.
"""

import contextlib
import functools
import sys
import time
from collections.abc import Iterator
from typing import Any, Callable
from unittest import mock

import torch

__all__ = ["PARTS", "Clock", "timed_parts"]

PARTS = ("noise", "encoder", "decoder", "head", "loss", "backward", "optimizer", "rest")
# Where rxf makes its noise: module -> a class of it and its method.
NOISE = {
    "rxf.forward.noise": ("NoiseStream", "draw"),
    "rxf.methods.r3f.noising": ("EmbeddingNoise", "__call__"),
}


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clock:
    """Adds up the time of each part; what runs within no part is the "rest".

    Args:
        now: seconds.
        wait: called before the time is read.

    Attributes:
        seconds: of each part so far, exclusive of the parts within it.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        wait: Callable[[], None] = _wait_for_device,
    ) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._now = now
        self._wait = wait
        self._running: list[str] = []
        self._since = 0.0

    def begin(self, part: str) -> None:
        """From here on it is this part's time."""
        self._book()
        self._running.append(part)

    def end(self) -> None:
        """The part that began last is over."""
        self._book()
        self._running.pop()

    def _book(self) -> None:
        self._wait()
        now = self._now()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The time within this context is this part's."""
        self.begin(name)
        try:
            yield
        finally:
            self.end()

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, its time being this part's."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(part):
                return function(*args, **kwargs)

        return timed

    def watch(self, module: Any, part: str, stack: contextlib.ExitStack) -> None:
        """The module's forward is this part's, until the stack is closed.

        By hooks, and not by another ``forward``: a copy of the module then runs itself and
        not the original.
        """

        def begin(*_: Any) -> None:
            self.begin(part)

        def end(*_: Any) -> None:
            self.end()

        for handle in (
            module.register_forward_pre_hook(begin),
            module.register_forward_hook(end, always_call=True),
        ):
            stack.callback(handle.remove)


@contextlib.contextmanager
def timed_parts(trainer: Any, clock: Clock) -> Iterator[None]:
    """Within this context ``trainer.train_step`` books its parts."""
    with contextlib.ExitStack() as stack:
        for module, part in _modules(trainer):
            clock.watch(module, part, stack)
        for owner, name, part in _functions(trainer):
            timed = clock.around(getattr(owner, name), part)
            stack.enter_context(mock.patch.object(owner, name, timed))
        yield


def _modules(trainer: Any) -> Iterator[tuple[Any, str]]:
    model = trainer.get_model()
    encoder = getattr(model.encoder, "sentence_encoder", model.encoder)
    yield trainer.get_criterion(), "loss"
    yield encoder, "encoder"
    # fairseq's R3F calls it by itself.
    yield encoder.embed_tokens, "encoder"
    for head in getattr(model, "classification_heads", {}).values():
        yield head, "head"
    decoder = getattr(model, "decoder", None)
    if decoder is not None:
        yield decoder, "decoder"
        if decoder.embed_tokens is not encoder.embed_tokens:
            yield decoder.embed_tokens, "decoder"


def _functions(trainer: Any) -> Iterator[tuple[Any, str, str]]:
    from fairseq.models.transformer import TransformerDecoderBase

    yield trainer, "train_step", "rest"
    yield trainer, "zero_grad", "optimizer"
    yield trainer, "clip_grad_norm", "optimizer"
    yield trainer.optimizer, "multiply_grads", "optimizer"
    yield trainer.task, "optimizer_step", "optimizer"
    yield trainer.optimizer, "backward", "backward"
    yield torch.autograd, "grad", "backward"
    if hasattr(trainer.get_model(), "decoder"):
        # Of the class: rxf's fused loss gives way where the projection has a hook, and puts a
        # method of its own into the decoder.
        yield TransformerDecoderBase, "output_layer", "head"
    sampler = getattr(trainer.get_criterion(), "noise_sampler", None)
    if sampler is not None:
        yield sampler, "sample", "noise"
    for module, (owner, name) in NOISE.items():
        if module in sys.modules:
            yield getattr(sys.modules[module], owner), name, "noise"
