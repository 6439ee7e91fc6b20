"""Data and pre-trained models of every kind that a method may be for."""

from pathlib import Path

import pytest

from tests.methods.every import Data, pretrained_model
from tests.support import (
    train_flags,
    translation_flags,
    write_sentence_data,
    write_translation_data,
)


@pytest.fixture(scope="session")
def data_of(sentence_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Data]:
    """Kind, or "regression" -> data set and pre-trained model, for reading only."""
    folder = tmp_path_factory.mktemp("every")
    numbers = write_sentence_data(folder / "numbers", regression=True)
    pairs = write_translation_data(folder / "pairs")
    roberta, transformer = folder / "roberta", folder / "transformer"
    pretrained_model(train_flags(sentence_data, roberta, max_update=1), roberta)
    pretrained_model(translation_flags(pairs, transformer, max_update=1), transformer)
    return {
        "sentences": Data("sentences", sentence_data, roberta / "model.pt"),
        "regression": Data("sentences", numbers, roberta / "model.pt"),
        "generation": Data("generation", pairs, transformer / "model.pt"),
    }
