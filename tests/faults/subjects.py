"""What is trained and killed: every method of the registry, and SURT's first stage."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rxf.lab.prepare.surt import prepare_surt
from rxf.methods import registry
from tests.methods.every import Case, Data, pretrained_model
from tests.support import (
    train_flags,
    translation_flags,
    write_sentence_data,
    write_translation_data,
)

__all__ = ["MAX_UPDATE", "Subject", "subjects"]

PLUGIN = Path(__file__).parent / "faulty_plugin"
# Five epochs of eight updates; a save every third update and at the end of each epoch.
MAX_UPDATE = 40
SETTINGS: dict[str, Any] = {
    "max_update": MAX_UPDATE,
    "save_interval_updates": 3,
    "keep_interval_updates": 2,
    "disable_validation": None,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "user_dir": PLUGIN,
}
# Each update of these draws noise: a batch that was computed and thrown away has drawn some.
DRAWING = ("freelb", "pac", "r3f", "r4f", "smart")


class Subject(NamedTuple):
    """A training.

    Attributes:
        name: of it, METHOD-KIND.
        flags: its command line, given the folder of its checkpoints.
        draws: whether a batch that was begun leaves another noise to the next one.
    """

    name: str
    flags: Callable[[Path], list[str]]
    draws: bool

    @property
    def kind(self) -> str:
        """Sentences, generation or text."""
        return self.name.rsplit("-", 1)[1]


def subjects(folder: Path) -> dict[str, Subject]:
    """Name -> training, of every method and kind that the registry has.

    Args:
        folder: gets their data and pre-trained models, which are small, when they are used.
    """
    cases = [
        Case(method, kind)
        for method in (registry.PLAIN, *registry.methods())
        for kind in ("sentences", "generation")
        if getattr(method, kind) is not None
    ]
    found = [_fine_tuning(case, folder) for case in cases]
    # The stage that SURT puts before plain fine-tuning, which is one of those above.
    found.append(Subject("surt-text", lambda to: _text(folder).flags(to, **MASKED_LM), False))
    return {subject.name: subject for subject in found}


def _fine_tuning(case: Case, folder: Path) -> Subject:
    settings = {**case.settings, **SETTINGS}
    data = _sentences if case.kind == "sentences" else _pairs
    name = f"{case.method.name}-{case.kind}"
    draws = case.method.name in DRAWING
    return Subject(name, lambda to: data(folder).flags(to, **settings), draws)


@functools.cache
def _sentences(folder: Path) -> Data:
    data = write_sentence_data(folder / "sentences")
    roberta = folder / "roberta"
    pretrained_model(train_flags(data, roberta, max_update=1), roberta)
    return Data("sentences", data, roberta / "model.pt")


@functools.cache
def _pairs(folder: Path) -> Data:
    data = write_translation_data(folder / "pairs")
    transformer = folder / "transformer"
    pretrained_model(translation_flags(data, transformer, max_update=1), transformer)
    return Data("generation", data, transformer / "model.pt")


@functools.cache
def _text(folder: Path) -> Data:
    sentences = _sentences(folder)
    prepare_surt(sentences.folder, folder / "text")
    return sentences._replace(folder=folder / "text")


OF_SENTENCES = ("classification_head_name", "init_token", "separator_token", "num_classes")
MASKED_LM: dict[str, Any] = {
    **dict.fromkeys((*OF_SENTENCES, "regression_target")),
    "task": "masked_lm",
    "criterion": "masked_lm",
    "sample_break_mode": "eos",
    "tokens_per_sample": 64,
    "skip_invalid_size_inputs_valid_test": True,
    **SETTINGS,
}
