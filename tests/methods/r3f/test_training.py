"""R3F and R4F through fairseq-train: resume, accumulation, ranks, precisions, YAML."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import (
    HEAD,
    RANKS,
    REPO,
    STILL,
    assert_bit_equal,
    assert_close,
    fork_fairseq_train,
    run_fairseq_train,
    train_flags,
    train_log,
    trained_weights,
    two_ranks_and_one,
    write_sentence_data,
)

R3F = {"criterion": "sentence_prediction_r3f", "eps": 0.05, "r3f_lambda": 0.7}
R4F = {**R3F, "spectral_norm_classification_head": True, "spectral_norm_scope": "head"}


@pytest.mark.parametrize("method", [R3F, R4F], ids=["r3f", "r4f"])
@pytest.mark.parametrize("passes", ["packed", "recompute"])
def test_resume_equals_an_uninterrupted_run(
    sentence_data: Path, pretrained: Path, tmp_path: Path, method: dict[str, Any], passes: str
) -> None:
    """Noise and dropout on, through the form of the recipe that resumes."""
    settings = {"finetune_from_model": pretrained, "r3f_passes": passes, **method}
    settings |= {"dropout": 0.1, "attention_dropout": 0.1}
    for folder, stops in (("whole", [8]), ("resumed", [5, 8])):
        for stop in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=stop, **settings)
            done = fork_fairseq_train(*flags)
    assert "Loaded checkpoint" in done.stdout + done.stderr
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))


def test_the_noise_changes_the_weights(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Without dropout, so that nothing but the noise can tell the runs apart."""
    for name, changes in {"a": {}, "b": {"r3f_noise_seed": 1}, "c": {"eps": 0.0}}.items():
        settings = {**R3F, **STILL, "finetune_from_model": pretrained, **changes}
        fork_fairseq_train(*train_flags(sentence_data, tmp_path / name, **settings))
    name = f"classification_heads.{HEAD}.dense.weight"
    a, b, c = (trained_weights(tmp_path / folder)[name] for folder in "abc")
    assert not torch.equal(a, b) and not torch.equal(a, c)


def test_lambda_0_trains_as_the_stock_criterion(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {"finetune_from_model": pretrained, "dropout": 0.1}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "stock", **settings))
    ours = {**settings, "criterion": "sentence_prediction_r3f", "r3f_lambda": 0}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path / "ours", **ours))
    assert_bit_equal(trained_weights(tmp_path / "ours"), trained_weights(tmp_path / "stock"))


@pytest.mark.parametrize(
    "precision",
    [
        {"fp16": True, "fp16_init_scale": 4},
        {"fp16": True, "memory_efficient_fp16": True, "fp16_init_scale": 4},
        {"bf16": True, "memory_efficient_bf16": True},
        {"bf16": True},
    ],
    ids=["fp16", "memory-efficient-fp16", "memory-efficient-bf16", "bf16"],
)
@pytest.mark.parametrize("method", [R3F, R4F], ids=["r3f", "r4f"])
def test_half_precision_stays_finite(
    sentence_data: Path,
    pretrained: Path,
    tmp_path: Path,
    precision: dict[str, Any],
    method: dict[str, Any],
) -> None:
    settings = {"finetune_from_model": pretrained, **method, **precision}
    flags = train_flags(sentence_data, tmp_path, max_update=6, disable_validation=None, **settings)
    logged = train_log(fork_fairseq_train(*flags).stdout)
    updates = [entry for entry in logged if entry["tag"] == "train_inner"]
    assert updates[-1]["num_updates"] == 6
    for entry in updates:
        assert math.isfinite(entry["loss"]) and entry["symm_kl"] > 0
        assert 0 < entry["noise_share"] <= 1
    assert all(tensor.isfinite().all() for tensor in trained_weights(tmp_path).values())


def reports_of_two_ranks_and_one(data: Path, tmp_path: Path, **settings: Any) -> list[Any]:
    """What the validation of two processes and of one logs."""
    runs = two_ranks_and_one(train_flags, data, tmp_path, **settings)
    logs = [train_log(done.stdout + done.stderr) for done in runs]
    return [next(entry for entry in log if entry["tag"] == "valid") for log in logs]


@pytest.mark.parametrize(
    ("backend", "passes"),
    [
        ("pytorch_ddp", "recompute"),
        pytest.param("legacy_ddp", "packed", marks=pytest.mark.slow),
        pytest.param("pytorch_ddp", "packed", marks=pytest.mark.slow),
        pytest.param("pytorch_ddp", "separate", marks=pytest.mark.slow),
        pytest.param("legacy_ddp", "separate", marks=pytest.mark.slow),
    ],
)
def test_two_processes_equal_one(tmp_path: Path, backend: str, passes: str) -> None:
    """23 validation rows, so that the ranks hold different numbers of them."""
    data = write_sentence_data(tmp_path / "data", rows={"train": 64, "valid": 23})
    reports = {"report_mcc": True, "report_acc_and_f1": True}
    settings = {**R4F, **reports, "eps": 0.0, "r3f_passes": passes, **RANKS[backend]}
    one, two = reports_of_two_ranks_and_one(data, tmp_path, **settings)
    assert_close(trained_weights(tmp_path / "two"), trained_weights(tmp_path / "one"))
    for key in ("valid_accuracy", "valid_mcc", "valid_f1", "valid_acc_and_f1"):
        assert two[key] == pytest.approx(one[key])


@pytest.mark.slow
def test_two_processes_report_the_correlations_of_one(tmp_path: Path) -> None:
    rows = {"train": 64, "valid": 23}
    data = write_sentence_data(tmp_path / "data", rows=rows, regression=True)
    settings = {**R3F, "eps": 0.0, "report_pearson_and_spearman": True, **RANKS["legacy_ddp"]}
    one, two = reports_of_two_ranks_and_one(data, tmp_path, **settings)
    for key in ("valid_pearson", "valid_spearman", "valid_pearson_and_spearman"):
        assert two[key] == pytest.approx(one[key], abs=0.1)


def _draw_on_a_rank(rank: int, folder: str) -> None:
    import torch.distributed as dist

    from rxf.forward import NoiseStream

    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(1)
    torch.save(NoiseStream().draw(torch.zeros(4, 5), "normal", 1.0), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_draw_different_noise(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_draw_on_a_rank, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert not torch.equal(first, second)


BEST = ["accuracy", "mcc", "acc_and_f1"]


@pytest.mark.parametrize("metric", BEST)
def test_metrics_choose_the_best_checkpoint(
    sentence_data: Path, pretrained: Path, tmp_path: Path, metric: str
) -> None:
    settings = {**R3F, "report_mcc": True, "report_acc_and_f1": True, "disable_validation": None}
    settings |= {"best_checkpoint_metric": metric, "maximize_best_checkpoint_metric": True}
    settings |= {"validate_interval_updates": 2, "finetune_from_model": pretrained}
    flags = train_flags(sentence_data, tmp_path, max_update=6, lr=0.02, **settings)
    done = fork_fairseq_train(*flags)
    valid = [e for e in train_log(done.stdout) if e["tag"] == "valid"]
    assert len(valid) == 3
    from tests.support import load_checkpoint

    best = load_checkpoint(tmp_path / "checkpoint_best.pt")["extra_state"]["best"]
    assert type(best) is float
    assert best == pytest.approx(max(entry[f"valid_{metric}"] for entry in valid), abs=1e-4)


def test_correlation_chooses_the_best_checkpoint(tmp_path: Path) -> None:
    data = write_sentence_data(tmp_path / "data", regression=True)
    metric = "pearson_and_spearman"
    settings = {**R3F, f"report_{metric}": True, "disable_validation": None}
    settings |= {"best_checkpoint_metric": metric, "maximize_best_checkpoint_metric": True}
    done = fork_fairseq_train(*train_flags(data, tmp_path / "run", **settings))
    entries = train_log(done.stdout)
    assert next(e for e in entries if e["tag"] == "valid")[f"valid_{metric}"] != 0
    assert next(e for e in entries if e["tag"] == "train_inner")["squared_diff"] > 0
    # What a second run finds must be readable, and go on from there.
    again = fork_fairseq_train(*train_flags(data, tmp_path / "run", max_update=6, **settings))
    assert "Loaded checkpoint" in again.stdout + again.stderr


def test_bart_trains_with_r4f(sentence_data: Path, tmp_path: Path) -> None:
    sizes = {"arch": "bart_base", "decoder_layers": 1, "decoder_attention_heads": 2}
    sizes |= {"add_prev_output_tokens": True, "max_source_positions": 64}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path, **R4F, **sizes))
    updates = [e for e in train_log(done.stdout) if e["tag"] == "train_inner"]
    assert updates[-1]["num_updates"] == 4 and updates[-1]["symm_kl"] > 0


BAD_RUNS = [
    ({"arch": "transformer"}, "--arch transformer has no classification head"),
    ({"eps": -1}, "--eps -1.0: must be a finite number"),
    ({"finetune_from_model": "gone.pt"}, "gone.pt"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_RUNS, ids=lambda value: str(value)[:30])
def test_bad_input_ends_in_one_line(
    sentence_data: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    flags = train_flags(sentence_data, tmp_path, **{**R3F, **changes})
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rxf: error: ") and message in last


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["rxf", "rxf/", "absolute", "absolute/"])
def test_spellings_of_user_dir(sentence_data: Path, tmp_path: Path, spelling: str) -> None:
    folder = spelling.replace("absolute", str(REPO / "rxf"))
    settings = {**R3F, "user_dir": folder, "max_update": 1}
    run_fairseq_train(*train_flags(sentence_data, tmp_path, **settings))
