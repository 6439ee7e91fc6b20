"""The same names in the YAML of fairseq-hydra-train."""

from pathlib import Path

import pytest

from tests.support import REPO, run_fairseq_train, write_translation_data

CONFIG = """# @package _group_
common: {{user_dir: {user_dir}, cpu: true, log_format: json, log_interval: 1}}
task:
  _name: sentence_prediction
  data: {data}
  num_classes: 2
  init_token: 0
  separator_token: 2
model:
  _name: roberta
  encoder_layers: 2
  encoder_embed_dim: 16
  encoder_ffn_embed_dim: 32
  encoder_attention_heads: 2
  spectral_norm_classification_head: true
  spectral_norm_scope: head
criterion:
  _name: sentence_prediction_r3f
  classification_head_name: sentence_classification_head
  regression_target: false
  eps: {eps}
  r3f_lambda: 0.7
  r3f_passes: recompute
  report_mcc: true
dataset: {{batch_size: 8, required_batch_size_multiple: 1, num_workers: 0}}
optimizer: {{_name: adam}}
lr_scheduler: {{_name: fixed}}
optimization: {{lr: [0.001], max_update: 2}}
checkpoint: {{save_dir: {save_dir}}}
"""

GENERATION = """# @package _group_
common: {{user_dir: {user_dir}, cpu: true, log_format: json, log_interval: 1}}
task:
  _name: translation
  data: {data}
  source_lang: source
  target_lang: target
model:
  _name: transformer
  encoder_layers: 2
  encoder_embed_dim: 16
  encoder_ffn_embed_dim: 32
  encoder_attention_heads: 2
  decoder_layers: 1
  decoder_embed_dim: 16
  decoder_ffn_embed_dim: 32
  decoder_attention_heads: 2
criterion:
  _name: label_smoothed_cross_entropy_r3f
  label_smoothing: 0.1
  eps: {eps}
  r3f_lambda: 0.1
  r3f_passes: recompute
  r3f_reduction: {reduction}
dataset: {{batch_size: 8, required_batch_size_multiple: 1, num_workers: 0}}
optimizer: {{_name: adam}}
lr_scheduler: {{_name: fixed}}
optimization: {{lr: [0.001], max_update: 2}}
checkpoint: {{save_dir: {save_dir}}}
"""


OPTIMIZER = CONFIG.replace(
    "optimizer: {{_name: adam}}",
    """optimizer:
  _name: {optimizer}
  adam_betas: [0.9, 0.98]
  component_clip_norm: 0.1
  component_clip_group: {group}
  layer_lr_decay: 0.9""",
).replace("checkpoint: {{", "checkpoint: {{finetune_from_model: {pretrained}, ")
OPTIMIZER = OPTIMIZER.replace("  num_classes: 2\n", "  num_classes: 2\n  max_positions: 64\n")


def hydra_train(config: str, folder: Path, **values: object) -> tuple[int, str]:
    """Exit status of the training that ``config`` describes, and all that was printed."""
    text = config.format(user_dir=REPO / "rxf", save_dir=folder / "save", **values)
    (folder / "run.yaml").write_text(text)
    done = run_fairseq_train(
        *["--config-dir", folder, "--config-name", "run"],
        command="fairseq-hydra-train",
        cwd=folder,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.1, -0.1])
def test_r4f_from_yaml(sentence_data: Path, tmp_path: Path, eps: float) -> None:
    status, output = hydra_train(CONFIG, tmp_path, data=sentence_data, eps=eps)
    if eps < 0:
        assert status != 0 and "--eps -0.1: must be a finite number" in output
    else:
        assert status == 0, output[-3000:]
        assert "symm_kl" in output and "valid_mcc" in output


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["token", "word"])
def test_generation_from_yaml(tmp_path: Path, reduction: str) -> None:
    data = write_translation_data(tmp_path / "data", rows=16)
    status, output = hydra_train(GENERATION, tmp_path, data=data, eps=0.1, reduction=reduction)
    if reduction == "word":
        assert status != 0 and "word" in output and "released" in output
    else:
        assert status == 0, output[-3000:]
        assert "symm_kl" in output and "valid_nll_loss" in output


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["recadam", "cwgnc_adam"])
@pytest.mark.parametrize("group", ["module", "layer"])
def test_optimizers_from_yaml(
    sentence_data: Path, pretrained: Path, tmp_path: Path, optimizer: str, group: str
) -> None:
    values = {"data": sentence_data, "pretrained": pretrained, "eps": 0.1}
    config = OPTIMIZER.replace("lr: [0.001]", "lr: [0.0001]")
    status, output = hydra_train(config, tmp_path, optimizer=optimizer, group=group, **values)
    if group == "layer":
        assert status != 0 and "layer" in output and "module" in output
    else:
        assert status == 0, output[-3000:]
        assert "clipped_share" in output and "valid_mcc" in output
