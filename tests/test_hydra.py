"""The same names in the YAML of fairseq-hydra-train."""

from pathlib import Path

import pytest

from tests.support import REPO, run_fairseq_train

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


@pytest.mark.slow
@pytest.mark.parametrize("eps", [0.1, -0.1])
def test_r4f_from_yaml(sentence_data: Path, tmp_path: Path, eps: float) -> None:
    config = CONFIG.format(
        user_dir=REPO / "rxf", data=sentence_data, save_dir=tmp_path / "save", eps=eps
    )
    (tmp_path / "run.yaml").write_text(config)
    done = run_fairseq_train(
        *["--config-dir", tmp_path, "--config-name", "run"],
        command="fairseq-hydra-train",
        cwd=tmp_path,
        check=False,
    )
    output = done.stdout + done.stderr
    if eps < 0:
        assert done.returncode != 0 and "--eps -0.1: must be a finite number" in output
    else:
        assert done.returncode == 0, output[-3000:]
        assert "symm_kl" in output and "valid_mcc" in output
