"""``--optimizer cwgnc_adam``: fairseq's Adam, with each component's gradient clipped on its own."""

from dataclasses import dataclass, field

from fairseq.optim import register_optimizer

from rxf.optim.component_adam import ComponentAdam
from rxf.optim.fairseq_optimizer import ComponentOptimizer
from rxf.optim.settings import ComponentAdamConfig

__all__ = ["CwgncAdam", "CwgncAdamConfig", "CwgncAdamOptimizer"]


@dataclass
class CwgncAdamConfig(ComponentAdamConfig):
    """Flags of component-wise clipping (Yang & Ma 2022), with the released threshold."""

    component_clip_norm: float = field(
        default=0.05,
        metadata={"help": "clip the gradient of each component to this Euclidean norm; 0 is off"},
    )


class CwgncAdam(ComponentAdam):
    """:class:`ComponentAdam` as it is: clipping is a setting of its own."""

    method = "cwgnc_adam"


@register_optimizer("cwgnc_adam", dataclass=CwgncAdamConfig)
class CwgncAdamOptimizer(ComponentOptimizer):
    """fairseq's handle on :class:`CwgncAdam`."""

    kind = CwgncAdam
