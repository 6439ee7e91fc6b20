"""BART by fairseq-hydra-train: the pre-trained file loads, and training is the command line's."""

from pathlib import Path

from examples.stand_in import TINY_BART, write_model
from rxf.lab.model_flags import model_flags
from rxf.lab.recipes import hydra
from tests.support import (
    REPO,
    assert_bit_equal,
    fork_fairseq_train,
    trained_weights,
    write_translation_data,
)

FLAGS = [*model_flags(TINY_BART), "--task", "translation", "--source-lang", "source"]
FLAGS += ["--target-lang", "target", "--criterion", "label_smoothed_cross_entropy"]
FLAGS += ["--optimizer", "adam", "--lr", "0.001", "--lr-scheduler", "fixed", "--max-update", "3"]
FLAGS += ["--batch-size", "8", "--num-workers", "0", "--disable-validation", "--cpu"]
FLAGS += ["--no-epoch-checkpoints", "--share-all-embeddings", "--layernorm-embedding"]


def test_with_and_without_the_fix(tmp_path: Path) -> None:
    data = write_translation_data(tmp_path / "data")
    pretrained = write_model(tmp_path / "model.pt", data / "dict.source.txt", TINY_BART)
    (tmp_path / "bart.yaml").write_text(hydra.text(hydra.config(FLAGS), []))
    words = ["--config-dir", tmp_path, "--config-name", "bart", f"common.user_dir={REPO / 'rxf'}"]
    words += [f"task.data={data}", f"checkpoint.finetune_from_model={pretrained}"]
    words += [f"checkpoint.save_dir={tmp_path / 'hydra'}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = fork_fairseq_train(
        *words, command="fairseq-hydra-train", check=False, env={"RXF_FIXES": "hydra-bart"}
    )
    assert done.returncode == 1 and "invalid argument task" in done.stderr

    fork_fairseq_train(*words, command="fairseq-hydra-train")
    paths = ["--user-dir", REPO / "rxf", "--finetune-from-model", pretrained]
    fork_fairseq_train(data, *FLAGS, *paths, "--save-dir", tmp_path / "flags")
    assert_bit_equal(trained_weights(tmp_path / "hydra"), trained_weights(tmp_path / "flags"))
