"""The table of settings against what it says it is from."""

from pathlib import Path

import fairseq
import pytest
import yaml

from rxf.lab.prepare.glue_tasks import GLUE_TASKS
from rxf.lab.recipes.glue import Recipe, methods_of, recipe, recipes
from rxf.lab.recipes.glue_settings import METHODS, SOURCES

# fairseq ships them.
CONFIGS = Path(fairseq.__file__).parent / "examples/roberta/config/finetuning"
OF_FAIRSEQ = ["MNLI", "QNLI", "QQP", "RTE", "SST-2", "MRPC", "CoLA", "STS-B"]
EVERY = list(recipes())
IDS = [f"{one.stem}-{one.name}" for one in EVERY]
# Flags of fairseq's configs that are no settings.
FORM = {"log_format", "log_interval", "_name", "data", "restore_file", "num_classes"}
FORM |= {"reset_optimizer", "reset_dataloader", "reset_meters", "init_token", "separator_token"}
FORM |= {"max_positions", "best_checkpoint_metric", "maximize_best_checkpoint_metric"}
FORM |= {"no_epoch_checkpoints", "find_unused_parameters", "required_batch_size_multiple"}
FORM |= {"regression_target"}


def test_nine_tasks_and_where_each_method_is_known() -> None:
    assert {one.task.name for one in EVERY} == set(GLUE_TASKS) and len(GLUE_TASKS) == 9
    for task in GLUE_TASKS:
        wanted = set(METHODS) - (
            {"cwgnc"} if task not in ("RTE", "MRPC", "CoLA", "QNLI") else set()
        )
        assert set(methods_of(task)) == wanted


@pytest.mark.parametrize("task", OF_FAIRSEQ)
def test_plain_is_fairseqs_own_config(task: str) -> None:
    name = task.lower().replace("-", "_")
    groups = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    ours = {name: setting.value for name, setting in recipe(task, "plain").settings.items()}
    named = {"processes": ours["processes"]}
    for group in groups.values():
        for key, value in group.items():
            if key in FORM:
                continue
            key = "processes" if key == "distributed_world_size" else key
            mine = named.get(key, ours.get(key))
            if key == "lr":
                value = float(value[0])
            if key == "adam_betas":
                value = value.replace(",", ", ")
            assert mine == (float(value) if key == "adam_eps" else value), key
    assert ours["total_num_update"] == ours["max_update"]


@pytest.mark.parametrize("one", EVERY, ids=IDS)
def test_each_value_has_a_source_or_says_that_it_is_ours(one: Recipe) -> None:
    for name, setting in one.settings.items():
        assert setting.value is not None, name
        if setting.is_known:
            assert setting.source in SOURCES and setting.ours is None, name
        else:
            assert setting.source.startswith("unknown: ") and setting.note, name


@pytest.mark.parametrize("one", EVERY, ids=IDS)
def test_a_schedule_that_ends(one: Recipe) -> None:
    """Training stops, by updates or epochs, and not before its warm-up is over."""
    values = {name: setting.value for name, setting in one.settings.items()}
    assert "max_update" in values or "max_epoch" in values
    assert 0 <= values["warmup_updates"] < values["total_num_update"]
    rows = one.task.rows["train"]
    updates = values.get("max_update", 10**9)
    if "max_epoch" in values:
        updates = min(updates, values["max_epoch"] * -(-rows // one.batch))
    epochs = updates * one.batch / rows
    # 2.5 would be CM3's 8 sentences for MNLI and QNLI taken for one process's.
    assert 3 <= epochs <= 101
    # The schedule is not cut off long before its end; FreeLB and plain RTE end at 10 epochs.
    assert updates >= 0.7 * values["total_num_update"]


@pytest.mark.parametrize("task", ["MNLI", "QNLI", "QQP", "SST-2", "RTE", "MRPC", "CoLA"])
def test_r3f_warms_up_over_six_hundredths(task: str) -> None:
    values = recipe(task, "r3f").settings
    assert values["warmup_updates"].value == int(0.06 * values["total_num_update"].value)


def test_what_is_not_known_is_not_claimed() -> None:
    for task in set(GLUE_TASKS) - {"RTE"}:
        for method in ("r3f", "r4f"):
            settings = recipe(task, method).settings
            assert settings["r3f_lambda"].published is None
            assert settings["noise_type"].published is None
    assert recipe("RTE", "r3f").settings["r3f_lambda"].published == 0.7
    for one in EVERY:
        if one.task.name == "WNLI":
            known = {s.source for s in one.settings.values() if s.is_known}
            assert known == {"rxf"}
        if one.name == "recadam":
            assert not one.settings["recadam_anneal_k"].is_known


def test_r4f_is_r3f_with_a_flag() -> None:
    for task in GLUE_TASKS:
        words = recipe(task, "r4f").words()
        words.remove("--spectral-norm-classification-head")
        assert sorted(words) == sorted(recipe(task, "r3f").words())


def test_recadams_pull_does_not_diverge() -> None:
    for task in GLUE_TASKS:
        settings = recipe(task, "recadam").settings
        assert settings["lr"].value * settings["recadam_pretrain_cof"].value < 2
