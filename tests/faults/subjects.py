"""What is trained and killed: every method of the registry, and SURT's first stage."""

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
        folder: gets their data and pre-trained models, which are small.
    """
    data = _data(folder)
    found = [
        _fine_tuning(Case(method, kind), data[kind])
        for method in (registry.PLAIN, *registry.methods())
        for kind in ("sentences", "generation")
        if getattr(method, kind) is not None
    ]
    found.append(_masked_lm(data["sentences"], folder / "text"))
    return {subject.name: subject for subject in found}


def _data(folder: Path) -> dict[str, Data]:
    sentences = write_sentence_data(folder / "sentences")
    pairs = write_translation_data(folder / "pairs")
    roberta, transformer = folder / "roberta", folder / "transformer"
    pretrained_model(train_flags(sentences, roberta, max_update=1), roberta)
    pretrained_model(translation_flags(pairs, transformer, max_update=1), transformer)
    return {
        "sentences": Data("sentences", sentences, roberta / "model.pt"),
        "generation": Data("generation", pairs, transformer / "model.pt"),
    }


def _fine_tuning(case: Case, data: Data) -> Subject:
    settings = {**case.settings, **SETTINGS}
    name = f"{case.method.name}-{case.kind}"
    return Subject(name, lambda to: data.flags(to, **settings), case.method.name in DRAWING)


def _masked_lm(data: Data, text: Path) -> Subject:
    """The stage that SURT puts before plain fine-tuning, which is a subject of its own."""
    prepare_surt(data.folder, text)
    of_sentences = ("classification_head_name", "init_token", "separator_token", "num_classes")
    settings: dict[str, Any] = {
        **dict.fromkeys((*of_sentences, "regression_target")),
        "task": "masked_lm",
        "criterion": "masked_lm",
        "sample_break_mode": "eos",
        "tokens_per_sample": 64,
        "skip_invalid_size_inputs_valid_test": True,
        **SETTINGS,
    }
    changed = data._replace(folder=text)
    return Subject("surt-text", lambda to: changed.flags(to, **settings), draws=False)
