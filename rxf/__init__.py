"""What ``fairseq-train --user-dir rxf`` imports: the fixes, then every name it registers."""

import logging

from rxf import fairseq_fixes
from rxf.errors import install_excepthook

# fairseq recommends a package for speech tasks whenever it is imported.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

install_excepthook()
fairseq_fixes.apply_all()

# After the fixes, which some of what is imported here builds on.
from rxf.classification import frozen_encoder as _frozen_encoder  # noqa: E402
from rxf.divergence import fast_path as _fast_path  # noqa: E402
from rxf.methods import registry as _registry  # noqa: E402
from rxf.methods import sharding as _sharding  # noqa: E402
from rxf.parameters import training as _training  # noqa: E402

# A wrong value is told at the start, and not by the first batch.
_fast_path.switched_on()
_training.install()
_frozen_encoder.install()
_registry.register_all()
_sharding.install()
