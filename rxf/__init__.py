"""What ``fairseq-train --user-dir rxf`` imports: the fixes, then every name it registers."""

import logging

from rxf import fairseq_fixes
from rxf.errors import install_excepthook

# fairseq recommends a package for speech tasks whenever it is imported.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

install_excepthook()
fairseq_fixes.apply_all()

# After the fixes, which some of what is imported here builds on.
from rxf.methods.cwgnc import optimizer as _cwgnc  # noqa: E402, F401
from rxf.methods.r3f import label_smoothed_cross_entropy as _r3f_generation  # noqa: E402, F401
from rxf.methods.r3f import sentence_prediction as _r3f_sentence_prediction  # noqa: E402, F401
from rxf.methods.r4f import heads as _r4f_heads  # noqa: E402
from rxf.methods.recadam import optimizer as _recadam  # noqa: E402
from rxf.parameters import training as _training  # noqa: E402

_r4f_heads.install()
_training.install()
_recadam.install()
