"""What was measured of a checkpoint: kept in a file of its own, and as rows of the result."""

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.lab.checkpoints import Checkpoint
from rxf.lab.files import read_json, write_json
from rxf.representation import Distance, LayerMeasures, MaskedBits, Measurement, forgotten

__all__ = ["UNITS", "Result", "cache_file", "read", "rows", "write"]

BITS = "bits per masked token"
UNITS = {
    "mlm_bits": BITS,
    "forgotten_bits": BITS,
    "forgotten_bits_error": BITS,
    "cka": "1",
    "cosine": "1",
    "effective_rank": "dimensions",
    "anisotropy": "1",
    "weight_distance": "1",
    "weight_distance_relative": "1",
    "component_distance": "1",
    "component_distance_relative": "1",
}


class Result(NamedTuple):
    """Of one checkpoint.

    Attributes:
        measurement: of its representations and of the masked-LM loss.
        whole: distance of the encoder's weights.
        components: the same for each component.
    """

    measurement: Measurement
    whole: Distance
    components: dict[str, Distance]


def cache_file(folder: Path, facts: dict[str, Any]) -> Path:
    """Where the result of a checkpoint is kept that ``facts`` decide."""
    text = json.dumps(facts, sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def write(path: Path, result: Result) -> None:
    """Keep a result; a process that is killed leaves all of it or nothing."""
    masked = result.measurement.masked_lm
    write_json(
        path,
        {
            "layers": [list(layer) for layer in result.measurement.layers],
            "masked_lm": None if masked is None else list(masked),
            "whole": list(result.whole),
            "components": {name: list(value) for name, value in result.components.items()},
        },
    )


def read(path: Path) -> Optional[Result]:
    """The result that :func:`write` kept, or None."""
    held = read_json(path)
    if held is None:
        return None
    masked = held["masked_lm"]
    measurement = Measurement(
        [LayerMeasures(*layer) for layer in held["layers"]],
        None if masked is None else MaskedBits(*masked),
    )
    components = {name: Distance(*value) for name, value in held["components"].items()}
    return Result(measurement, Distance(*held["whole"]), components)


def rows(checkpoint: Checkpoint, result: Result, pretrained: Result) -> list[dict[str, Any]]:
    """The rows of ``probe.json`` for one checkpoint; what is no number is left out."""
    return [
        {
            "checkpoint": checkpoint.name,
            "method": checkpoint.method,
            "seed": checkpoint.seed,
            "source": checkpoint.source,
            "measure": measure,
            "layer": layer,
            "component": component,
            "value": value,
            "unit": UNITS[measure],
        }
        for measure, layer, component, value in _values(result, pretrained)
        if math.isfinite(value)
    ]


_Value = tuple[str, Optional[int], Optional[str], float]


def _values(result: Result, pretrained: Result) -> Iterator[_Value]:
    yield from _of_masked_lm(result.measurement.masked_lm, pretrained.measurement.masked_lm)
    for number, layer in enumerate(result.measurement.layers):
        for measure, value in layer._asdict().items():
            yield measure, number, None, value
    yield "weight_distance", None, None, result.whole.euclidean
    yield "weight_distance_relative", None, None, result.whole.relative
    for component, distance in result.components.items():
        yield "component_distance", None, component, distance.euclidean
        yield "component_distance_relative", None, component, distance.relative


def _of_masked_lm(own: Optional[MaskedBits], before: Optional[MaskedBits]) -> Iterator[_Value]:
    if own is None or before is None:
        return
    more = forgotten(before, own)
    yield "mlm_bits", None, None, own.per_token
    yield "forgotten_bits", None, None, more.bits
    yield "forgotten_bits_error", None, None, more.error
