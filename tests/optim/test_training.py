"""RecAdam and component-wise clipping through fairseq-train: resume, ranks, starts, errors."""

import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.optim.trainers import PRECISIONS
from tests.support import (
    RANKS,
    assert_bit_equal,
    assert_close,
    build_from_flags,
    fork_fairseq_train,
    load_checkpoint,
    load_model_state,
    run_fairseq_train,
    train_flags,
    train_log,
    trained_weights,
    two_ranks_and_one,
)

RECADAM = {
    "optimizer": "recadam",
    "recadam_anneal_fun": "linear",
    "recadam_anneal_t0": 20,
    "recadam_pretrain_cof": 500,
    "component_clip_norm": 0.05,
    "weight_decay": 0.01,
}
CWGNC = {"optimizer": "cwgnc_adam", "l2sp_weight": 5, "weight_decay": 0.01}
METHODS = {"recadam": RECADAM, "cwgnc_adam": CWGNC}


def _optimizer_state(save_dir: Path) -> dict[str, Any]:
    return load_checkpoint(save_dir / "checkpoint_last.pt")["last_optimizer_state"]


def _assert_same_state(one: dict[str, Any], other: dict[str, Any]) -> None:
    kept = [{k: v for k, v in state["rxf"].items() if k != "fp32_copies"} for state in (one, other)]
    assert kept[0] == kept[1]
    for copy, same in zip(
        *(state["rxf"]["fp32_copies"] or [] for state in (one, other)), strict=True
    ):
        assert torch.equal(copy, same)
    assert one["state"].keys() == other["state"].keys()
    for number, entries in one["state"].items():
        assert_bit_equal(entries, other["state"][number])


def _logged(stdout: str, name: str) -> list[float]:
    return [entry[name] for entry in train_log(stdout) if entry["tag"] == "train_inner"]


# ------------------------------------------------------------------------------- resume


def _slow_but(*quick: tuple[str, str], methods: Iterable[str], others: Iterable[str]) -> list[Any]:
    """All pairs, those that are not ``quick`` marked as slow."""
    pairs = itertools.product(methods, others)
    return [
        pair if pair in quick else pytest.param(*pair, marks=pytest.mark.slow) for pair in pairs
    ]


@pytest.mark.parametrize(
    "method, precision",
    _slow_but(
        ("recadam", "flattened"),
        ("cwgnc_adam", "memory-efficient"),
        methods=METHODS,
        others=PRECISIONS,
    ),
)
def test_resume_equals_an_uninterrupted_run(
    method: str, precision: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Stopped after 10 updates of 14, dropout on: weights, moments, count, anchor."""
    settings = {**METHODS[method], "finetune_from_model": pretrained}
    for folder, stops in (("whole", [14]), ("resumed", [10, 14])):
        for stop in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=stop, **settings)
            done = fork_fairseq_train(*flags, *PRECISIONS[precision])
    assert _logged(done.stdout, "anchor_distance")
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))
    states = [_optimizer_state(tmp_path / folder) for folder in ("resumed", "whole")]
    _assert_same_state(*states)
    assert states[0]["rxf"]["updates"] == 14


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_in_the_middle_of_an_epoch(
    method: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """The process is killed; what it saved at update 10 is gone on from."""
    settings = {**METHODS[method], "finetune_from_model": pretrained, "max_update": 14}
    settings |= {"save_interval_updates": 5, "batch_size": 4}
    run_fairseq_train(*train_flags(sentence_data, tmp_path / "whole", **settings))
    flags = train_flags(sentence_data, tmp_path / "killed", **settings)
    plugin = Path(__file__).parent / "killed_plugin"
    done = run_fairseq_train(*flags, "--user-dir", plugin, check=False)
    assert done.returncode == -9
    done = run_fairseq_train(*flags)
    assert "Loaded checkpoint" in done.stdout and "@ 10 updates" in done.stdout
    assert_bit_equal(trained_weights(tmp_path / "killed"), trained_weights(tmp_path / "whole"))
    _assert_same_state(*(_optimizer_state(tmp_path / name) for name in ("killed", "whole")))


def test_checkpoints_hold_no_anchor(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    """Only where it is: the file is as large as that of adam, but for some kilobytes."""
    sizes = []
    for optimizer in (RECADAM, {"optimizer": "adam"}):
        settings = {**optimizer, "finetune_from_model": pretrained, "max_update": 1}
        folder = tmp_path / str(len(sizes))
        fork_fairseq_train(*train_flags(sentence_data, folder, **settings))
        state = _optimizer_state(folder)
        sizes.append(
            sum(
                t.numel()
                for entry in state["state"].values()
                for t in entry.values()
                if torch.is_tensor(t) and t.numel() > 1
            )
        )
    assert sizes[0] == sizes[1]
    reference = _optimizer_state(tmp_path / "0")["rxf"]["anchor"]
    assert reference["path"] == str(pretrained) and len(reference["fingerprint"]) == 8


def test_a_changed_setting_takes_effect_and_is_said(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {**RECADAM, "finetune_from_model": pretrained, "lr": 1e-4}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=4, **settings))
    changes = {"lr": 3e-4, "recadam_pretrain_cof": 200, "adam_betas": "(0.9, 0.98)"}
    flags = train_flags(sentence_data, tmp_path, max_update=8, **{**settings, **changes})
    done = fork_fairseq_train(*flags)
    assert set(_logged(done.stdout, "lr")) == {3e-4}
    for line in (
        "--recadam-pretrain-cof was 500.0 in the checkpoint and is 200.0 from here",
        "--adam-betas was [0.9, 0.999] in the checkpoint and is [0.9, 0.98] from here",
    ):
        assert done.stdout.count(line) == 1
    assert done.stdout.count("in the checkpoint and is") == 2
    assert _optimizer_state(tmp_path)["rxf"]["settings"]["--recadam-pretrain-cof"] == 200


# --------------------------------------------------------------------- plain stand-ins


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_constant_annealing_stands_in_for_others(
    clip: float, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """lambda 1 is ``adam``, and with a clip ``cwgnc_adam``, but for where decay stands."""
    other: dict[str, Any] = {"optimizer": "adam"}
    if clip:
        other = {"optimizer": "cwgnc_adam", "component_clip_norm": clip}
    ours = {"optimizer": "recadam", "component_clip_norm": clip, "recadam_anneal_fun": "constant"}
    shared = {"finetune_from_model": pretrained, "weight_decay": 0.01, "max_update": 16}
    for folder, settings in (("ours", ours), ("other", other)):
        flags = train_flags(sentence_data, tmp_path / folder, **shared, **settings)
        fork_fairseq_train(*flags)
    assert_close(trained_weights(tmp_path / "ours"), trained_weights(tmp_path / "other"), atol=1e-6)


# ----------------------------------------------------------------------------- anchors


@pytest.mark.slow
def test_the_anchor_survives_a_file_that_moved_and_no_other_file(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    model = shutil.copy(pretrained, tmp_path / "model.pt")
    settings = {**RECADAM, "finetune_from_model": model}
    run = tmp_path / "run"
    fork_fairseq_train(*train_flags(sentence_data, run, max_update=4, **settings))
    # While the file is there, it is the anchor, whatever else is named.
    other = shutil.copy(run / "checkpoint_last.pt", tmp_path / "other.pt")
    flags = train_flags(sentence_data, run, max_update=5, **settings)
    done = fork_fairseq_train(*flags, "--recadam-pretrained", other)
    assert f"elements) of {model};" in done.stdout
    moved = tmp_path / "elsewhere.pt"
    model.rename(moved)
    flags = train_flags(sentence_data, run, max_update=7, **settings)
    done = fork_fairseq_train(*flags, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"rxf: error: {model}, the pre-trained")
    # A checkpoint of the run itself is a fairseq model, but not these weights.
    wrong = shutil.copy(run / "checkpoint_last.pt", tmp_path / "wrong.pt")
    done = fork_fairseq_train(*flags, "--recadam-pretrained", wrong, check=False)
    assert "holds other weights than the file that this run started from" in done.stderr
    done = fork_fairseq_train(*flags, "--recadam-pretrained", moved)
    assert "@ 5 updates" in done.stdout


def test_a_lost_optimizer_state_does_not_make_half_trained_weights_the_anchor(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {**RECADAM, "finetune_from_model": pretrained, "no_save_optimizer_state": True}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=4, lr=1e-3, **settings))
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=5, **settings))
    assert f"elements) of {pretrained}" in done.stdout
    # Far from there, where the run before had come to.
    assert _logged(done.stdout, "anchor_distance")[0] > 0.001


def test_only_the_head_is_new(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    """Pulled with all force and lambda at 0, all but the head stays where it was."""
    settings = {**RECADAM, "recadam_anneal_t0": 1e9, "weight_decay": 0, "lr": 1e-3}
    settings |= {"recadam_pretrain_cof": 1000, "finetune_from_model": pretrained}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=6, **settings))
    before, after = load_model_state(pretrained), trained_weights(tmp_path)
    for name in after.keys() - {"encoder.sentence_encoder.version"}:
        if name.startswith("classification_heads."):
            continue
        torch.testing.assert_close(after[name], before[name], rtol=1e-5, atol=1e-7, msg=name)
    torch.manual_seed(1)
    start = build_from_flags(train_flags(sentence_data, tmp_path), seed=1)[2].state_dict()
    head = [name for name in after if name.startswith("classification_heads.")]
    assert head and all(not torch.equal(after[name], start[name]) for name in head)


# ------------------------------------------------------------------------- random start


@pytest.mark.parametrize("form", ["finetune", "restore", "pretrained"])
def test_a_random_start_is_pulled_to_the_file(
    form: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """The distance falls by 1 - lr gamma an update, whichever flag names the file."""
    files: dict[str, dict[str, Any]] = {
        "finetune": {"finetune_from_model": pretrained},
        "restore": {
            "restore_file": pretrained,
            **dict.fromkeys(
                ("reset_optimizer", "reset_dataloader", "reset_meters", "reset_lr_scheduler"), True
            ),
        },
        "pretrained": {"recadam_pretrained": pretrained},
    }
    settings = {**RECADAM, "recadam_anneal_t0": 1e9, "recadam_init": "random", "lr": 1e-3}
    settings |= {"weight_decay": 0, **files[form]}
    done = fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=4, **settings))
    distances = _logged(done.stdout, "anchor_distance")
    # Beside nothing but rounding: lambda is 1e-9 of an Adam step.
    for one, other in zip(distances, distances[1:], strict=False):
        assert other == pytest.approx(one / 2, rel=1e-2)
    assert distances[0] > 0.1


@pytest.mark.slow
def test_a_random_start_is_not_repeated_on_resume(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {**RECADAM, "recadam_init": "random", "finetune_from_model": pretrained}
    for folder, stops in (("whole", [8]), ("resumed", [5, 8])):
        for stop in stops:
            flags = train_flags(sentence_data, tmp_path / folder, max_update=stop, **settings)
            fork_fairseq_train(*flags)
    assert_bit_equal(trained_weights(tmp_path / "resumed"), trained_weights(tmp_path / "whole"))
    # Nor where the user throws the optimizer away.
    (tmp_path / "a").mkdir()
    shutil.copy(tmp_path / "whole" / "checkpoint_last.pt", tmp_path / "a" / "checkpoint_last.pt")
    del settings["finetune_from_model"]
    flags = train_flags(sentence_data, tmp_path / "a", recadam_pretrained=pretrained, **settings)
    fork_fairseq_train(*flags, "--reset-optimizer", "--max-update", 9, "--lr", 1e-12)
    assert_close(trained_weights(tmp_path / "a"), trained_weights(tmp_path / "whole"), atol=1e-6)


def test_starts_differ_only_in_the_start(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """Init random leaves the weights that the seed gave, in both head and body."""
    settings = {**RECADAM, "recadam_init": "random", "finetune_from_model": pretrained}
    flags = train_flags(sentence_data, tmp_path / "a", max_update=1, lr=1e-12, **settings)
    fork_fairseq_train(*flags)
    without = {**settings, "optimizer": "adam", "finetune_from_model": None}
    without = {k: v for k, v in without.items() if not k.startswith(("recadam", "component"))}
    fork_fairseq_train(
        *train_flags(sentence_data, tmp_path / "b", max_update=1, lr=1e-12, **without)
    )
    assert_close(trained_weights(tmp_path / "a"), trained_weights(tmp_path / "b"), atol=1e-7)


# -------------------------------------------------------------------------------- ranks


@pytest.mark.parametrize(
    "method, backend",
    _slow_but(("recadam", "legacy_ddp"), methods=METHODS, others=RANKS),
)
def test_two_processes_equal_one(
    method: str, backend: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """The unused lm_head among the parameters: without gradient on every rank."""
    settings = {**METHODS[method], **RANKS[backend], "finetune_from_model": pretrained}
    done = two_ranks_and_one(train_flags, sentence_data, tmp_path, **settings)
    assert _logged(done[1].stdout, "anchor_distance")
    one, two = (trained_weights(tmp_path / name) for name in ("one", "two"))
    assert_close(two, one)
    name = "encoder.lm_head.dense.weight"
    assert torch.equal(two[name], load_model_state(pretrained)[name])


@pytest.mark.slow
def test_a_random_start_on_two_processes(
    sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    settings = {**RECADAM, **RANKS["legacy_ddp"], "finetune_from_model": pretrained}
    two_ranks_and_one(train_flags, sentence_data, tmp_path, recadam_init="random", **settings)
    one, two = (trained_weights(tmp_path / name) for name in ("one", "two"))
    assert_close(two, one)


# ------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--optimizer", "recadam"], ["--recadam-init pretrained", "--finetune-from-model"]),
        (["--optimizer", "recadam", "--lr", "0.001"], ["--recadam-pretrain-cof", "0.0004"]),
        (["--optimizer", "recadam", "--recadam-pretrained", "FILE"], ["--recadam-init random"]),
        (["--optimizer", "cwgnc_adam", "--l2sp-weight", "1"], ["cwgnc_adam pulls towards"]),
        (["--optimizer", "recadam", "--zero-sharding", "os"], ["--zero-sharding os", "recadam"]),
        (["--optimizer", "cwgnc_adam", "--use-bmuf"], ["--use-bmuf", "cwgnc_adam"]),
        (
            ["--optimizer", "recadam", "--recadam-init", "random", "--recadam-pretrained", "no.pt"],
            ["--recadam-pretrained no.pt", "does not exist"],
        ),
        (
            [
                "--optimizer",
                "recadam",
                "--recadam-anneal-fun",
                "linear",
                "--recadam-anneal-t0",
                "0",
            ],
            ["--recadam-anneal-t0", "above 0"],
        ),
        (["--optimizer", "recadam", "--recadam-anneal-w", "0"], ["--recadam-anneal-w", "above 0"]),
        (["--optimizer", "recadam", "--recadam-anneal-k", "-1"], ["--recadam-anneal-k"]),
    ],
)
def test_bad_input_ends_in_one_line(
    flags: list[str], words: list[str], sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    flags = [str(pretrained) if word == "FILE" else word for word in flags]
    settings = {"optimizer": None, "lr": 1e-4}
    done = fork_fairseq_train(
        *train_flags(sentence_data, tmp_path, **settings), *flags, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert (
        done.returncode == 1 and last.startswith("rxf: error: ") and "Traceback" not in done.stderr
    )
    assert all(word in last for word in words), last
    assert not (tmp_path / "checkpoint_last.pt").exists()


@pytest.mark.parametrize("precision", ["fp32", pytest.param("flattened", marks=pytest.mark.slow)])
def test_another_optimizers_state_is_refused(
    precision: str, sentence_data: Path, pretrained: Path, tmp_path: Path
) -> None:
    """fairseq sees the difference in fp32 only."""
    words = PRECISIONS[precision]
    settings: dict[str, Any] = {"finetune_from_model": pretrained, "optimizer": "cwgnc_adam"}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=2, **settings), *words)
    settings = {**RECADAM, "recadam_init": "random", "recadam_pretrained": pretrained}
    flags = train_flags(sentence_data, tmp_path, **settings)
    done = fork_fairseq_train(*flags, *words, check=False)
    assert done.returncode != 0 and "--reset-optimizer" in done.stderr
    fork_fairseq_train(*flags, *words, "--reset-optimizer")


def test_another_layout_is_refused(sentence_data: Path, pretrained: Path, tmp_path: Path) -> None:
    settings = {"finetune_from_model": pretrained, "optimizer": "cwgnc_adam", "fp16": True}
    fork_fairseq_train(*train_flags(sentence_data, tmp_path, max_update=2, **settings))
    flags = train_flags(sentence_data, tmp_path, **settings)
    done = fork_fairseq_train(*flags, "--fp16-no-flatten-grads", check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("rxf: error: --optimizer cwgnc_adam: the checkpoint keeps its state in")
