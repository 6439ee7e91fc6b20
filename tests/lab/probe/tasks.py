"""Prepared tasks on tiny data, and a pre-trained model for them."""

import json
from pathlib import Path
from typing import Any

from rxf.lab.prepared import FACTS
from tests.support import write_sentence_data

TRAIN_ROWS, VALID_ROWS = 48, 24


def write_task(folder: Path, seed: int = 1, **changes: Any) -> Path:
    """A prepared task; ``changes`` are those of :func:`write_sentence_data`."""
    rows = {"train": TRAIN_ROWS, "valid": VALID_ROWS}
    write_sentence_data(folder, rows, seed=seed, **changes)
    regression = bool(changes.get("regression"))
    classes = 1 if regression else int(changes.get("classes", 2))
    metric = "pearson" if regression else "accuracy"
    flags = ["--task", "sentence_prediction", "--num-classes", str(classes)]
    flags += ["--init-token", "0", "--separator-token", "2"]
    flags += ["--regression-target", "--report-pearson-and-spearman"] if regression else []
    flags += ["--best-checkpoint-metric", metric, "--maximize-best-checkpoint-metric"]
    facts = {
        "task": folder.name,
        "num_classes": classes,
        "best_metric": metric,
        "fairseq_train_flags": flags,
        "splits": {name: {"rows": count} for name, count in rows.items()},
    }
    (folder / FACTS).write_text(json.dumps(facts))
    return folder
