"""The edits that turn the released fairseq 0.12.2 sources into ones that work today.

    python scripts/fairseq_edits.py SOURCE_FOLDER

Only what breaks before a plugin is imported, or where none is, stands here:
installing, importing, reading checkpoints, running the encoder of a trained model.
Everything else is mended by ``rxf.fairseq_fixes``, so that users of a stock fairseq get
it too.

Each edit names the line that it expects and how often; where the source differs
the run stops, so that no wheel is built from sources that nobody has looked at.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ALLOW_LIST = Path(__file__).resolve().parents[1] / "rxf/fairseq_fixes/checkpoint_allow_list.py"

# The wheel carries rxf's allow-list under this name; see copy_allow_list.
WHEEL_MODULE = "fairseq/rxf_checkpoint_allow_list.py"

# A local version (PEP 440) still satisfies `fairseq==0.12.2`, and tells the
# mended wheel from the release.
WHEEL_VERSION = "0.12.2+rxf2"


@dataclass(frozen=True)
class Edit:
    """Replace ``old`` by ``new`` in ``file``, where it must stand ``count`` times."""

    file: str
    old: str
    new: str
    count: int
    reason: str


EDITS = [
    Edit(
        "fairseq/version.txt",
        "0.12.2",
        WHEEL_VERSION,
        1,
        "tell the mended wheel from the release",
    ),
    Edit(
        "setup.py",
        '"hydra-core>=1.0.7,<1.1"',
        '"hydra-core>=1.3.2,<1.4"',
        1,
        "hydra 1.0 does not import on Python 3.11 (mutable dataclass defaults)",
    ),
    Edit(
        "setup.py",
        '"omegaconf<2.1"',
        '"omegaconf>=2.3,<2.4"',
        1,
        "omegaconf 2.0 has metadata that pip 24.1 and newer refuse (fairseq#5511)",
    ),
    Edit(
        "setup.py",
        '            "torch",\n',
        '            "torch>=2.5",\n',
        1,
        "checkpoints are read through torch's allow-lists",
    ),
    Edit(
        "setup.py",
        '            "torchaudio>=0.8.0",\n',
        "",
        1,
        "drags in a second torch build; no text task imports it",
    ),
    Edit(
        "pyproject.toml",
        'requires = ["setuptools", "wheel", "cython"]',
        'requires = ["setuptools", "wheel", "cython", "numpy>=2"]',
        1,
        "extensions built against numpy 2 also run on numpy 1.26, not the other way round",
    ),
    Edit(
        "fairseq/dataclass/configs.py",
        "@dataclass\n",
        "@dataclass(eq=False)\n",
        13,
        "Python 3.11 refuses unhashable defaults (fairseq#5012); eq=False keeps the hash",
    ),
    Edit(
        "fairseq/models/transformer/transformer_config.py",
        "@dataclass\n",
        "@dataclass(eq=False)\n",
        4,
        "Python 3.11 refuses unhashable defaults (fairseq#5012); eq=False keeps the hash",
    ),
    Edit(
        "fairseq/data/token_block_dataset.py",
        "np.compat.long",
        "np.int64",
        1,
        "np.compat is gone in numpy 2",
    ),
    Edit(
        "fairseq/data/language_pair_dataset.py",
        "np.compat.long",
        "np.int64",
        1,
        "np.compat is gone in numpy 2",
    ),
    Edit(
        "fairseq/data/data_utils.py",
        "                    np.int,\n",
        "                    np.int64,\n",
        1,
        "np.int is gone since numpy 1.24",
    ),
    Edit(
        "fairseq/modules/dynamic_crf_layer.py",
        'np.float("inf")',
        'float("inf")',
        1,
        "np.float is gone since numpy 1.24",
    ),
    Edit(
        "fairseq/modules/transformer_layer.py",
        "        self.can_use_fastpath = (\n",
        "        self.can_use_fastpath = False and (\n",
        1,
        "torch 2 asks this path for a mask type ('Mask Type should be defined' for a padded batch)",
    ),
    Edit(
        "fairseq/checkpoint_utils.py",
        "import torch\nfrom fairseq.data import data_utils\n",
        "import torch\nfrom fairseq.data import data_utils\n"
        "from fairseq.rxf_checkpoint_allow_list import load as load_allowed\n",
        1,
        "torch >= 2.6 reads plain tensors only, older ones run any code; see the allow-list",
    ),
    Edit(
        "fairseq/checkpoint_utils.py",
        "torch.load(",
        "load_allowed(",
        2,
        "the main checkpoint and the EMA checkpoint",
    ),
    Edit(
        "fairseq/distributed/utils.py",
        "import torch.distributed as dist\n",
        "import torch.distributed as dist\n"
        "from fairseq.rxf_checkpoint_allow_list import load as load_allowed\n",
        1,
        "see the allow-list",
    ),
    Edit(
        "fairseq/distributed/utils.py",
        "torch.load(",
        "load_allowed(",
        1,
        "checkpoints reach the other ranks through this",
    ),
]


def apply(edit: Edit, source: Path) -> None:
    """Make one edit below ``source``, or exit naming what was not found."""
    path = source / edit.file
    if not path.is_file():
        sys.exit(f"build_fairseq: {edit.file} is missing: are these fairseq 0.12.2 sources?")
    text = path.read_text(encoding="utf-8")
    found = text.count(edit.old)
    if found != edit.count:
        sys.exit(
            f"build_fairseq: {edit.file} holds {edit.old.strip()!r} {found} times, "
            f"expected {edit.count} ({edit.reason}): are these fairseq 0.12.2 sources?"
        )
    path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def copy_allow_list(source: Path) -> None:
    """Put rxf's allow-list into the wheel: `fairseq-generate` alone imports no plugin."""
    if not ALLOW_LIST.is_file():
        sys.exit(f"build_fairseq: {ALLOW_LIST} is missing: run this from a whole rxf checkout")
    shutil.copyfile(ALLOW_LIST, source / WHEEL_MODULE)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python scripts/fairseq_edits.py SOURCE_FOLDER")
    source = Path(sys.argv[1])
    for edit in EDITS:
        apply(edit, source)
    copy_allow_list(source)


if __name__ == "__main__":
    main()
