"""What is trained: which model, on batches of which shape, in which precision."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Optional

from benchmarks.training_step.lengths import KNOWN, rows_of

__all__ = ["GROWTHS", "MODELS", "PRECISIONS", "Model", "Setting", "grown"]


@dataclass(frozen=True)
class Model:
    """A published architecture.

    Attributes:
        pairs: it is an encoder-decoder, trained on pairs.
        layers: of the encoder, and of the decoder where there is one.
        width: of an embedding.
        positions: that a row may have.
    """

    pairs: bool
    layers: int
    width: int
    positions: int


MODELS = {
    "roberta_base": Model(False, 12, 768, 512),
    "roberta_large": Model(False, 24, 1024, 512),
    "bart_base": Model(True, 6, 768, 1024),
    "bart_large": Model(True, 12, 1024, 1024),
}
# What fairseq-train is told; the trainer then keeps fp32 masters (fp16, bf16) or autocasts.
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp16": {"fp16": True, "fp16_init_scale": 4, "threshold_loss_scale": 1},
    "bf16": {"bf16": True},
    "amp": {"amp": True, "fp16_init_scale": 4, "threshold_loss_scale": 1},
}


@dataclass(frozen=True)
class Setting:
    """One workload, which all peers get alike.

    Attributes:
        model: in :data:`MODELS`.
        layers: of the encoder, and as many of the decoder.
        width: of an embedding; heads have 64.
        vocabulary: rows of the embedding table.
        batch: rows of a batch; None where ``max_tokens`` alone limits it.
        lengths: see :func:`rows_of`.
        max_tokens: the limit of fairseq's flag.
        precision: in :data:`PRECISIONS`.
        batches: distinct batches, and updates in a turn.
    """

    model: str
    layers: int
    width: int
    vocabulary: int
    batch: Optional[int]
    lengths: str
    max_tokens: Optional[int]
    precision: str
    batches: int = 1

    @property
    def pairs(self) -> bool:
        """It is an encoder-decoder."""
        return MODELS[self.model].pairs

    def count(self) -> int:
        """Rows that make at least as many batches as are wanted."""
        rows = self.batch or 10**9
        if self.max_tokens:
            sources, targets = rows_of(self.lengths, 100, self.pairs)
            # fairseq counts the longer side of a pair.
            shortest = min(map(max, sources, targets or sources))
            rows = min(rows, self.max_tokens // shortest)
        return rows * self.batches

    def check(self) -> None:
        """Refuse what fairseq would stop at, or train otherwise than asked.

        Raises:
            ValueError: lengths that this model does not take, or no batch size.
        """
        limit = MODELS[self.model].positions
        sources, targets = rows_of(self.lengths, 100, self.pairs)
        longest = max([*sources, *(targets or [])])
        if longest > limit:
            raise ValueError(f"--lengths {self.lengths}: {self.model} takes {limit} tokens at most")
        if self.max_tokens and longest > self.max_tokens:
            raise ValueError(
                f"--max-tokens {self.max_tokens}: a row of --lengths {self.lengths} has {longest}"
            )
        if not (self.batch or self.max_tokens):
            raise ValueError("--batch 0: give it, or --max-tokens")

    def name(self) -> str:
        """For a heading."""
        layers = f"{self.layers}+{self.layers}" if self.pairs else str(self.layers)
        rows = [f"{self.batch} rows"] if self.batch else []
        rows += [f"at most {self.max_tokens:,} tokens"] if self.max_tokens else []
        lengths = self.lengths if self.lengths in KNOWN else f"length {self.lengths}"
        return (
            f"{self.model}, {layers} layers of {self.width}, {self.vocabulary:,} words; "
            f"{' and '.join(rows)}, {lengths}; {self.precision}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``Setting(**it)`` is the same again."""
        return asdict(self)


# What --grow knows -> the values it takes on a CPU and on a GPU.
GROWTHS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "batch": ((2, 4, 8, 16), (4, 8, 16, 32)),
    "length": ((32, 64, 128, 256), (64, 128, 256, 512)),
    "vocabulary": ((10_000, 25_000, 50_265, 100_000), (10_000, 25_000, 50_265, 100_000)),
    "size": ((1, 2, 4, 8), (3, 6, 12, 24)),
}


def grown(setting: Setting, by: str, value: int) -> Setting:
    """The setting with another batch, length, vocabulary, or number of layers (``size``)."""
    known: dict[str, dict[str, Any]] = {
        "batch": {"batch": value, "max_tokens": None},
        "length": {
            "lengths": f"{value}:{max(value // 2, 3)}" if setting.pairs else str(value),
            "max_tokens": None,
            "batch": setting.batch or 8,
        },
        "vocabulary": {"vocabulary": value},
        "size": {"layers": value},
    }
    return replace(setting, **known[by])
