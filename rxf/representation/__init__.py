"""Representational collapse, measured without a probe."""

from rxf.representation.distance import Distance, weight_distance, weight_distances
from rxf.representation.layers import LayerComparison, LayerMeasures
from rxf.representation.masked_lm import Forgotten, MaskedBits, forgotten, masked_bits
from rxf.representation.measurement import Measurement, layer_states, measure
from rxf.representation.measures import anisotropy, cka, effective_rank
from rxf.representation.model import encoder, encoder_components, masked_lm_head, named_below

__all__ = [
    "Distance",
    "Forgotten",
    "LayerComparison",
    "LayerMeasures",
    "MaskedBits",
    "Measurement",
    "anisotropy",
    "cka",
    "effective_rank",
    "encoder",
    "encoder_components",
    "forgotten",
    "layer_states",
    "masked_bits",
    "masked_lm_head",
    "measure",
    "named_below",
    "weight_distance",
    "weight_distances",
]
