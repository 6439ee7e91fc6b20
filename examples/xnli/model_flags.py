"""The flags by which fairseq-train builds the model of a RoBERTa or XLM-R file, on one line.

python examples/xnli/model_flags.py model.pt
"""

import argparse
from pathlib import Path

from fairseq.models import ARCH_MODEL_REGISTRY

import rxf  # noqa: F401  (reads files by its allow-list)
from rxf.errors import install_excepthook
from rxf.lab.model_flags import flags_from_checkpoint, model_flags


def main() -> None:
    install_excepthook()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    settings = flags_from_checkpoint(parser.parse_args().file, "XLMR")
    # Sizes are all spelt out, so that a name that only its own time knew is no loss.
    if settings["arch"] not in ARCH_MODEL_REGISTRY:
        settings["arch"] = "roberta"
    print(*model_flags(settings))


if __name__ == "__main__":
    main()
