"""How a criterion runs a model on perturbed embeddings, whatever the model family."""

from rxf.forward.adapters import (
    Perturbation,
    perturbed_embeddings,
    require_two_branches,
    text_encoder,
    unwrapped,
)
from rxf.forward.branches import BranchPlan, replay_dropout, two_branches
from rxf.forward.decoder import (
    decoder_features,
    decoder_outputs,
    log_probabilities,
    output_projection,
    require_generation,
)
from rxf.forward.noise import NoiseStream, add_noise, share_changed
from rxf.forward.rounding import RoundingReport, log_noise_share
from rxf.forward.weights import evaluating, replaced_weights

__all__ = [
    "BranchPlan",
    "NoiseStream",
    "Perturbation",
    "RoundingReport",
    "add_noise",
    "decoder_features",
    "decoder_outputs",
    "evaluating",
    "log_noise_share",
    "log_probabilities",
    "output_projection",
    "perturbed_embeddings",
    "replaced_weights",
    "replay_dropout",
    "require_generation",
    "require_two_branches",
    "share_changed",
    "text_encoder",
    "two_branches",
    "unwrapped",
]
