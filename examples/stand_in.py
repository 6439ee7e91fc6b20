"""What a recipe's ``--smoke`` form runs on: made-up text, a byte BPE, tiny random models.

Every file has the form of the real one, so that a recipe runs on it with its own commands. It
shows that the commands fit together, and nothing else.
"""

import json
import random
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

__all__ = ["TINY_BART", "TINY_ROBERTA", "sentence", "write_bpe", "write_model"]

TINY_ROBERTA = {
    "arch": "roberta",
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "max_positions": 512,
}
TINY_BART = {
    "arch": "bart_base",
    **dict.fromkeys(["encoder_layers", "decoder_layers"], 1),
    **dict.fromkeys(["encoder_embed_dim", "decoder_embed_dim"], 16),
    **dict.fromkeys(["encoder_ffn_embed_dim", "decoder_ffn_embed_dim"], 32),
    **dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 2),
    **dict.fromkeys(["max_source_positions", "max_target_positions"], 1024),
}
_WORDS = ["good", "bad", "the", "film", "of", "a", "was", "not", "and", "day", "house", "very"]


def sentence(source: random.Random, kind: int) -> str:
    """Some words; the first one gives the class ``kind`` away, 0 or 1."""
    return " ".join([_WORDS[kind % 2], *source.choices(_WORDS[2:], k=source.randint(2, 8))])


def write_bpe(folder: Path) -> Path:
    """GPT-2 BPE files of single bytes and one merge; returns ``folder``."""
    symbols = [*bytes_to_unicode().values(), "\u0120t"]
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    (folder / "encoder.json").write_text(json.dumps(numbers), encoding="utf-8")
    (folder / "vocab.bpe").write_text("#version: 0.2\n\u0120 t\n", encoding="utf-8")
    lines = [f"{number} 1\n" for number in range(len(symbols))]
    (folder / "dict.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def write_model(path: Path, dictionary: Path, sizes: dict[str, Any]) -> Path:
    """A random model as a file that fairseq could have pre-trained; returns ``path``.

    Args:
        path: of the file.
        dictionary: that the model is to have; ``<mask>`` comes on top.
        sizes: :data:`TINY_ROBERTA` or :data:`TINY_BART`.
    """
    words = Dictionary.load(str(dictionary))
    words.add_symbol("<mask>")
    settings = Namespace(**sizes)
    ARCH_CONFIG_REGISTRY[sizes["arch"]](settings)
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words, dictionary=words)
    torch.manual_seed(1)
    model = ARCH_MODEL_REGISTRY[sizes["arch"]].build_model(settings, task)
    history = {
        "criterion_name": "MaskedLmLoss",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {"best": None},
        "num_updates": 1,
    }
    state = {
        "args": settings,
        "model": model.state_dict(),
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": 1.0},
        "last_optimizer_state": None,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path
