"""Small encoder-decoders and translation batches for the tests of generation criterions."""

from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from tests.forward.models import Task, build

PAD, EOS, WIDTH = 1, 2, 16
TIED = {"share_decoder_input_output_embed": True}


def stock(**flags: Any) -> LabelSmoothedCrossEntropyCriterion:
    settings = {"sentence_avg": False, "label_smoothing": 0.1, **flags}
    return LabelSmoothedCrossEntropyCriterion(Task(), **settings).train()


def lively(arch: str, **changes: Any) -> Any:
    """A model whose outputs hang on its inputs more than those of a fresh one do."""
    model = build(arch, **changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed" not in name:
                parameter.mul_(8)
    return model.train()


def sample_of(rows: int = 4, source: int = 7, target: int = 6, padding: bool = True) -> Any:
    """A translation batch: right-padded sources and targets of different lengths."""
    numbers = torch.Generator().manual_seed(5)

    def sentences(length: int, shrink: int) -> torch.Tensor:
        tokens = torch.randint(4, 20, (rows, length), generator=numbers)
        for row in range(rows):
            end = max(2, length - shrink * row) if padding else length
            tokens[row, end - 1], tokens[row, end:] = EOS, PAD
        return tokens

    targets = sentences(target, 1)
    return collated(sentences(source, 1), targets)


def collated(sources: torch.Tensor, targets: torch.Tensor) -> dict[str, Any]:
    previous = targets.roll(1, dims=1)
    previous[:, 0] = EOS
    previous[targets.eq(PAD)] = PAD
    return {
        "net_input": {
            "src_tokens": sources,
            "src_lengths": sources.ne(PAD).sum(1),
            "prev_output_tokens": previous,
        },
        "target": targets,
        "ntokens": int(targets.ne(PAD).sum()),
    }


def padded(sample: dict[str, Any], source: int, target: int) -> dict[str, Any]:
    sources = F.pad(sample["net_input"]["src_tokens"], (0, source), value=PAD)
    return collated(sources, F.pad(sample["target"], (0, target), value=PAD))


def rows_of(sample: dict[str, Any], rows: slice) -> dict[str, Any]:
    return collated(sample["net_input"]["src_tokens"][rows], sample["target"][rows])


def noise_for(sample: dict[str, Any], scale: float = 0.3) -> torch.Tensor:
    shape = (*sample["net_input"]["src_tokens"].shape, WIDTH)
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)) * scale


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_close(got: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=tolerance, atol=tolerance, msg=name)


def log_probabilities(model: Any, outputs: Any) -> torch.Tensor:
    adaptive = getattr(model.decoder, "adaptive_softmax", None)
    if adaptive is None:
        return model.get_normalized_probs(outputs, log_probs=True)
    # fairseq's cannot be differentiated. A word's probability is that of its cluster times
    # its own within the cluster.
    head = adaptive.head(outputs[0]).softmax(-1)
    words = [head[..., word] for word in range(adaptive.cutoff[0])]
    for index, tail in enumerate(adaptive.tail):
        within = tail(outputs[0]).softmax(-1)
        cluster = head[..., adaptive.cutoff[0] + index]
        words += [cluster * within[..., word] for word in range(within.size(-1))]
    return torch.stack(words, -1).log()
