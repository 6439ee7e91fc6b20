"""What optimizers may know of the trainer, and where they may not."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import open_dict

import rxf  # noqa: F401
from rxf.errors import UserError
from rxf.parameters.training import Training, building
from tests.optim.trainers import build_trainer


@pytest.fixture()
def trainer(sentence_data: Path, pretrained: Path) -> Any:
    return build_trainer(sentence_data, pretrained, "fp32")


@pytest.mark.parametrize(
    "section, name, value, flag",
    [
        ("distributed_training", "ddp_backend", "fully_sharded", "--ddp-backend fully_sharded"),
        ("distributed_training", "zero_sharding", "os", "--zero-sharding os"),
        ("distributed_training", "pipeline_model_parallel", True, "--pipeline-model-parallel"),
        ("common", "model_parallel_size", 2, "--model-parallel-size"),
        ("optimization", "use_bmuf", True, "--use-bmuf"),
    ],
)
def test_layouts_without_names_are_refused(
    trainer: Any, section: str, name: str, value: Any, flag: str
) -> None:
    setattr(getattr(trainer.cfg, section), name, value)
    with pytest.raises(UserError, match=f"^{flag} .*--optimizer adam"):
        Training(trainer, list(trainer.get_model().parameters()))


def test_what_the_flags_say(sentence_data: Path, pretrained: Path) -> None:
    settings = {"lr": "0.001,0.003", "log_interval": 7}
    trainer = build_trainer(sentence_data, pretrained, "fp32", **settings)
    training = Training(trainer, list(trainer.get_model().parameters()))
    assert (training.max_lr, training.log_interval) == (0.003, 7)
    assert training.pretrained_files == [("--finetune-from-model", str(pretrained))]
    assert training.is_model(trainer.model) and not training.is_model(trainer.criterion)
    assert training.writes_files
    trainer.cfg.checkpoint.no_save = True
    assert not training.writes_files
    trainer.cfg.checkpoint.restore_file = "other.pt"
    with open_dict(trainer.cfg):
        trainer.cfg.lr_scheduler.max_lr = 0.01
    training = Training(trainer, list(trainer.get_model().parameters()))
    assert training.pretrained_files[-1] == ("--restore-file", "other.pt")
    assert training.max_lr == 0.01


def test_it_is_asked_by_a_trainer_only() -> None:
    with pytest.raises(RuntimeError, match="trainer"):
        building([])
