"""The nine GLUE tasks in one table: files, columns, labels, metric, official row counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rxf.errors import UserError

__all__ = ["GLUE_TASKS", "GlueTask", "find_task"]

ONE_DEV_SET = {"train": "train.tsv", "valid": "dev.tsv", "test": "test.tsv"}
TWO_DEV_SETS = {
    "train": "train.tsv",
    "valid": "dev_matched.tsv",
    "valid1": "dev_mismatched.tsv",
    "test": "test_matched.tsv",
    "test1": "test_mismatched.tsv",
}
REPORT_FLAG = {
    "mcc": "--report-mcc",
    "acc_and_f1": "--report-acc-and-f1",
    "pearson_and_spearman": "--report-pearson-and-spearman",
}


@dataclass(frozen=True)
class GlueTask:
    """What a task's official TSV files hold, and what fairseq-train must be told about it.

    Attributes:
        name: the official folder name.
        sentences: the columns of one sentence, or of a sentence pair.
        label: the column of the label; test files lack it.
        labels: every label the column may hold; empty means a score, that is regression.
        best_metric: the metric GLUE ranks by: accuracy, mcc, acc_and_f1 or
            pearson_and_spearman.
        rows: official number of rows of each split; empty for tasks that have none.
        files: file name of each split, under fairseq's name for the split.
        headerless: the column names of train and dev files that have no header line.
        score_range: smallest and largest score of a regression task.
    """

    name: str
    sentences: tuple[str, ...]
    label: str
    labels: tuple[str, ...]
    best_metric: str
    rows: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=lambda: ONE_DEV_SET)
    headerless: tuple[str, ...] = ()
    score_range: tuple[float, float] = (0.0, 5.0)

    @property
    def regression(self) -> bool:
        return not self.labels

    @property
    def num_classes(self) -> int:
        """The value of ``--num-classes``: 1 for regression."""
        return len(self.labels) or 1

    def train_flags(self) -> list[str]:
        """The flags that this task, whatever the model, adds to ``fairseq-train --user-dir rxf``.

        0 and 2 are the numbers of ``<s>`` and ``</s>`` in every fairseq dictionary.
        """
        flags = ["--task", "sentence_prediction", "--num-classes", str(self.num_classes)]
        flags += ["--init-token", "0", "--separator-token", "2"]
        if self.regression:
            flags.append("--regression-target")
        if self.best_metric in REPORT_FLAG:
            flags.append(REPORT_FLAG[self.best_metric])
        best = ["--best-checkpoint-metric", self.best_metric, "--maximize-best-checkpoint-metric"]
        return flags + best


def _rows(train: int, valid: int, test: int) -> dict[str, int]:
    return {"train": train, "valid": valid, "test": test}


# Counted in the official files here: train and dev of CoLA, SST-2, MRPC, STS-B and RTE.
# The other counts are the published ones.
_TASKS = (
    GlueTask(
        "CoLA",
        sentences=("sentence",),
        label="label",
        labels=("0", "1"),
        best_metric="mcc",
        rows=_rows(8551, 1043, 1063),
        headerless=("source", "label", "author's mark", "sentence"),
    ),
    GlueTask(
        "SST-2",
        sentences=("sentence",),
        label="label",
        labels=("0", "1"),
        best_metric="accuracy",
        rows=_rows(67349, 872, 1821),
    ),
    GlueTask(
        "MRPC",
        sentences=("#1 String", "#2 String"),
        label="Quality",
        labels=("0", "1"),
        best_metric="acc_and_f1",
        rows=_rows(3668, 408, 1725),
    ),
    GlueTask(
        "STS-B",
        sentences=("sentence1", "sentence2"),
        label="score",
        labels=(),
        best_metric="pearson_and_spearman",
        rows=_rows(5749, 1500, 1379),
    ),
    GlueTask(
        "QQP",
        sentences=("question1", "question2"),
        label="is_duplicate",
        labels=("0", "1"),
        best_metric="acc_and_f1",
        # 363849 lines in the file, three of them broken.
        rows=_rows(363846, 40430, 390965),
    ),
    GlueTask(
        "MNLI",
        sentences=("sentence1", "sentence2"),
        label="gold_label",
        labels=("contradiction", "entailment", "neutral"),
        best_metric="accuracy",
        rows={"train": 392702, "valid": 9815, "valid1": 9832, "test": 9796, "test1": 9847},
        files=TWO_DEV_SETS,
    ),
    GlueTask(
        "QNLI",
        sentences=("question", "sentence"),
        label="label",
        labels=("entailment", "not_entailment"),
        best_metric="accuracy",
        rows=_rows(104743, 5463, 5463),
    ),
    GlueTask(
        "RTE",
        sentences=("sentence1", "sentence2"),
        label="label",
        labels=("entailment", "not_entailment"),
        best_metric="accuracy",
        rows=_rows(2490, 277, 3000),
    ),
    GlueTask(
        "WNLI",
        sentences=("sentence1", "sentence2"),
        label="label",
        labels=("0", "1"),
        best_metric="accuracy",
        rows=_rows(635, 71, 146),
    ),
)

GLUE_TASKS: Mapping[str, GlueTask] = {task.name: task for task in _TASKS}


def plain_name(name: str) -> str:
    """A task name without what spellings differ in: ``SST2``, ``sst_2`` and ``SST-2`` are one."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def find_task(name: str) -> GlueTask:
    """The GLUE task of this name, in any usual spelling."""
    for task in GLUE_TASKS.values():
        if plain_name(task.name) == plain_name(name):
            return task
    raise UserError(f"TASK {name} is no GLUE task: give one of {', '.join(GLUE_TASKS)}")
