"""The released RTE command with another user dir."""

import shlex
from pathlib import Path

import pytest

from tests.support import run_fairseq_train, train_log

MINI = ["--encoder-layers", "4", "--encoder-embed-dim", "192", "--encoder-ffn-embed-dim", "768"]
MINI += ["--encoder-attention-heads", "4", "--arch", "roberta"]
SHORT = ["--max-update", "3", "--no-epoch-checkpoints", "--num-workers", "0", "--cpu"]
SHORT += ["--log-format", "json", "--log-interval", "1", "--disable-validation"]

# The command of the README of fairseq's examples/rxf, --user-dir and paths apart.
RELEASED = shlex.split("""
    --max-positions 512 --max-sentences 8 --max-tokens 4400 --task sentence_prediction
    --reset-optimizer --reset-dataloader --reset-meters --required-batch-size-multiple 1
    --init-token 0 --separator-token 2 --arch roberta_large --criterion sentence_prediction_r3f
    --num-classes 2 --dropout 0.1 --attention-dropout 0.1 --weight-decay 0.1 --optimizer adam
    --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --clip-norm 0.0 --lr-scheduler polynomial_decay
    --lr 1e-05 --total-num-update 3120 --warmup-updates 187 --fp16 --fp16-init-scale 4
    --threshold-loss-scale 1 --fp16-scale-window 128 --max-epoch 10 --find-unused-parameters
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric --noise-type uniform
    --r3f-lambda 0.7
""")


@pytest.fixture(scope="module")
def rte(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rte") / "RTE-bin"
    bpe = shared_data / "gpt2_bpe"
    run_fairseq_train(
        *["prepare", "glue", shared_data / "glue", "RTE", out, "--bpe-dir", bpe], command="rxf"
    )
    return out


def updates(stdout: str) -> list[dict]:
    return [entry for entry in train_log(stdout) if entry["tag"] == "train_inner"]


@pytest.mark.slow
def test_the_released_command_runs_with_another_user_dir(
    rte: Path, shared_models: Path, tmp_path: Path
) -> None:
    """All its flags, --fp16 on a CPU included; the appended ones fit it to the small model."""
    model = shared_models / "roberta_mini" / "model.pt"
    paths = ["--restore-file", model, "--save-dir", tmp_path]
    done = run_fairseq_train(rte, *RELEASED, *paths, "--user-dir", "rxf", *MINI, *SHORT)
    log = updates(done.stdout)
    assert log[-1]["num_updates"] == 3
    assert all(0 < entry["symm_kl"] < 1 for entry in log)
