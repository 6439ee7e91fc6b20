"""From a setting and a peer to fairseq's trainer, in the worker's process.  No rxf here."""

from pathlib import Path
from typing import Any

import torch

from benchmarks import fairseq_trainer
from benchmarks.training_step.lengths import rows_of
from benchmarks.training_step.setting import PRECISIONS, Setting

__all__ = ["arguments", "tokens_of", "write_data", "write_start"]

PLUGIN = Path(__file__).resolve().parents[2] / "rxf"
# Of the recipes: fairseq's examples/rxf for RTE, examples/bart for CNN/DM.
SENTENCES = {
    "task": "sentence_prediction",
    "num_classes": 2,
    "init_token": 0,
    "separator_token": 2,
    "max_positions": 512,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "adam_betas": "(0.9, 0.98)",
    "adam_eps": 1e-6,
    "weight_decay": 0.1,
    "clip_norm": 0.0,
}
PAIRS = {
    "task": "translation",
    "source_lang": "source",
    "target_lang": "target",
    "truncate_source": True,
    "max_source_positions": 1024,
    "max_target_positions": 1024,
    "layernorm_embedding": True,
    "share_all_embeddings": True,
    "share_decoder_input_output_embed": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "label_smoothing": 0.1,
    "adam_betas": "(0.9, 0.999)",
    "adam_eps": 1e-8,
    "weight_decay": 0.01,
    "clip_norm": 0.1,
}
# A rate at which random labels do no harm; the schedule's arithmetic is no part of an update.
COMMON = {
    "optimizer": "adam",
    "lr": 1e-6,
    "lr_scheduler": "fixed",
    "max_update": 100_000,
    "required_batch_size_multiple": 1,
    "num_workers": 0,
    "data_buffer_size": 0,
}


def write_data(folder: Path, setting: Setting) -> None:
    """What the flags name as data; nobody's pre-training is wanted to be faster or slower."""
    sources, targets = rows_of(setting.lengths, setting.count(), setting.pairs)
    if targets is None:
        # The task adds <mask> to fairseq's four.
        fairseq_trainer.write_sentences(folder, sources, setting.vocabulary - 5)
    else:
        fairseq_trainer.write_pairs(folder, sources, targets, setting.vocabulary - 4)


def arguments(setting: Setting, peer: dict[str, Any], folder: Path) -> list[str]:
    """The words of ``fairseq-train`` for this peer, whose data and start are in ``folder``."""
    values: dict[str, Any] = {
        **COMMON,
        **(PAIRS if setting.pairs else SENTENCES),
        "arch": setting.model,
        **_size(setting),
        **PRECISIONS[setting.precision],
        "save_dir": folder / "checkpoints",
        **peer["flags"],
    }
    if setting.batch:
        values["batch_size"] = setting.batch
    if setting.max_tokens:
        values["max_tokens"] = setting.max_tokens
    if peer["plugin"]:
        values["user_dir"] = PLUGIN
    if not torch.cuda.is_available():
        values["cpu"] = True
    start = folder / "start.pt"
    if start.exists():
        values["finetune_from_model"] = start
    words = [str(folder / "data"), *fairseq_trainer.switches(values), *peer["words"]]
    return words


def _size(setting: Setting) -> dict[str, int]:
    values: dict[str, int] = {}
    for side in ("encoder", "decoder") if setting.pairs else ("encoder",):
        values |= {
            f"{side}_layers": setting.layers,
            f"{side}_embed_dim": setting.width,
            f"{side}_ffn_embed_dim": 4 * setting.width,
            f"{side}_attention_heads": max(setting.width // 64, 1),
        }
    return values


def write_start(setting: Setting, peer: dict[str, Any], folder: Path) -> None:
    """A file with the weights that training starts from anyway."""
    plain = {**peer, "flags": {**peer["flags"], "optimizer": "adam"}}
    trainer = fairseq_trainer.build_trainer(arguments(setting, plain, folder))
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(folder / "start.pt"), {})


def tokens_of(batch: dict[str, Any]) -> int:
    """Source and target tokens that are no padding."""
    sources = int(batch["net_input"]["src_lengths"].sum())
    targets = batch["ntokens"] if "prev_output_tokens" in batch["net_input"] else 0
    return sources + int(targets)
