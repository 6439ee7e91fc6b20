"""A GLUE recipe: the settings of a task and a method, as flags of ``fairseq-train``."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rxf.lab.prepare.glue_tasks import GLUE_TASKS, GlueTask
from rxf.lab.recipes.glue_settings import METHODS, PER_TASK, SHARED, SOURCES, GlueMethod
from rxf.lab.recipes.settings import Setting

__all__ = ["FORM", "FROM_MNLI", "Recipe", "flag_words", "methods_of", "recipe", "recipes"]

# What every recipe has that is no setting of a method: how fairseq is to be run.
FORM = [
    *("--max-positions", "512", "--required-batch-size-multiple", "1"),
    *("--find-unused-parameters", "--no-epoch-checkpoints"),
]
# Tasks that are often started from a model fine-tuned on MNLI.
FROM_MNLI = ("RTE", "MRPC", "STS-B")
# How many processes make a batch, and how often each adds to it: of `spread` in stages.sh.
OF_SPREAD = ("update_freq", "processes")


class Recipe(NamedTuple):
    """A task with a method.

    Attributes:
        task: the GLUE task.
        name: of the method, a key of :data:`METHODS`.
        method: what holds for it on all tasks.
        settings: flag in Python's spelling -> setting; ``processes`` is no flag.
    """

    task: GlueTask
    name: str
    method: GlueMethod
    settings: Mapping[str, Setting]

    @property
    def update_freq(self) -> int:
        """At which the recipe's processes make its batch."""
        return int(self.settings["update_freq"].value)

    @property
    def processes(self) -> int:
        return int(self.settings["processes"].value)

    @property
    def batch(self) -> int:
        """Sentences an update, where ``--max-tokens`` does not cut a batch short."""
        return int(self.settings["batch_size"].value) * self.update_freq * self.processes

    @property
    def stem(self) -> str:
        """Of the task's script and folder: ``sst-2``."""
        return self.task.name.lower()

    def flags(self) -> dict[str, Setting]:
        """All settings but those of :data:`OF_SPREAD`."""
        return {name: s for name, s in self.settings.items() if name not in OF_SPREAD}

    def words(self, processes: int = 1) -> list[str]:
        """The flags of ``fairseq-train``, paths left out, for the nearest architecture.

        Args:
            processes: that share the batch; a divisor of the recipe's own number.
        """
        words = ["--arch", self.method.nearest, *self.task.train_flags(), *FORM]
        for name, setting in self.flags().items():
            words += flag_words(name, setting.value)
        batches = self.update_freq * self.processes
        return [
            *words,
            *("--distributed-world-size", str(processes)),
            *("--update-freq", str(batches // processes)),
        ]


def recipe(task: str, method: str) -> Recipe:
    """The recipe of a task (a key of ``GLUE_TASKS``) and a method (a key of ``METHODS``).

    Raises:
        KeyError: there is none.
    """
    settings = {**SHARED[method], **PER_TASK[method][task]}
    for name, setting in settings.items():
        if setting.is_known and setting.source not in SOURCES:
            raise KeyError(f"{task} {method}: {name} is from {setting.source}, which is no source")
    return Recipe(GLUE_TASKS[task], method, METHODS[method], settings)


def methods_of(task: str) -> list[str]:
    """The methods that have a recipe for a task."""
    return [name for name in METHODS if task in PER_TASK[name]]


def recipes() -> Iterator[Recipe]:
    """Every recipe there is, task by task."""
    for task in GLUE_TASKS:
        for method in methods_of(task):
            yield recipe(task, method)


def flag_words(name: str, value: Any) -> list[str]:
    """``--adam-eps 1e-06``, or the flag alone where it takes no value."""
    flag = "--" + name.replace("_", "-")
    return [flag] if value is True else [flag, str(value)]
