"""A command line to fairseq's configuration, by fairseq's own parser."""

import contextlib
import difflib
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from rxf.errors import UserError

__all__ = ["configuration", "nested", "parse", "without_hydras_warnings"]

# What fairseq-generate knows and what would not do here what it says.
REFUSED = {
    "path": "CHECKPOINT, the first argument, is what generates",
    "results_path": "OUT, the third argument, is where the hypotheses go",
    "score_reference": "it scores the references instead of generating",
    "replace_unk": "it needs the raw text; use fairseq-generate",
    "print_alignment": "hypotheses.txt holds text only; use fairseq-generate",
    "lm_path": "a language model beside the checkpoint is for fairseq-generate",
    "distributed_world_size": "one process generates the whole split",
    "bf16": "fairseq generates in fp32, or in fp16 with --fp16",
    "memory_efficient_bf16": "fairseq generates in fp32, or in fp16 with --fp16",
}


def parse(
    checkpoint: Path,
    data: Path,
    split: str,
    flags: Sequence[str],
    defaults: Optional[Mapping[str, Any]] = None,
) -> Namespace:
    """fairseq-generate's arguments.

    Args:
        checkpoint: or several, joined by ``:`` as for ``--path``.
        data: the binarised folder.
        split: for ``--gen-subset``.
        flags: what the user gave beside these three.
        defaults: values of task settings where no flag gives them; ``task`` among them.

    Raises:
        UserError: a flag that does not exist, lacks its value, or is refused here.
    """
    parser = options.get_generation_parser()
    parser.error = _fail  # type: ignore[method-assign]

    def take_defaults(parser: ArgumentParser) -> None:
        parser.set_defaults(**(defaults or {}))

    args, unknown = options.parse_args_and_arch(
        parser, [str(data), *flags], parse_known=True, modify_parser=take_defaults
    )
    if unknown:
        raise UserError(_unknown(unknown, parser))
    _refuse(parser, args)
    args.path, args.gen_subset = str(checkpoint), split
    return args


@contextlib.contextmanager
def without_hydras_warnings() -> Iterator[None]:
    """Around what makes a nested configuration of flat arguments.

    Hydra has a screen of old news to tell then, under the name of whoever calls.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def nested(args: Namespace) -> Any:
    """Flat arguments as fairseq's nested configuration."""
    with without_hydras_warnings():
        return convert_namespace_to_omegaconf(args)


def configuration(args: Namespace) -> Any:
    """The configuration that :func:`parse`'s arguments make.

    Raises:
        UserError: the flags contradict each other or the machine.
    """
    cfg = nested(args)
    if cfg.dataset.max_tokens is None and cfg.dataset.batch_size is None:
        cfg.dataset.max_tokens = 12000
    if cfg.common.fp16 and (cfg.common.cpu or not torch.cuda.is_available()):
        raise UserError("--fp16 is for CUDA, and this runs on the CPU: leave it out")
    return cfg


def _fail(message: str) -> NoReturn:
    raise UserError(f"{message} (flags of fairseq-generate: see its --help)")


def _refuse(parser: ArgumentParser, args: Namespace) -> None:
    for name, reason in REFUSED.items():
        if getattr(args, name) != parser.get_default(name):
            raise UserError(f"--{name.replace('_', '-')} does not go with rxf generate: {reason}")
    if args.no_repeat_ngram_size == 1:
        raise UserError(
            "--no-repeat-ngram-size 1 bans the </s> that every hypothesis starts with, so that "
            "none can end: give 2 or more"
        )


def _unknown(words: list[str], parser: ArgumentParser) -> str:
    flag = next((word for word in words if word.startswith("-")), None)
    if flag is None:
        return f"{words[0]!r} belongs to no flag: give CHECKPOINT DATA OUT, then flags"
    flag = flag.split("=")[0]
    known = [name for action in parser._actions for name in action.option_strings]
    close = difflib.get_close_matches(flag, [*known, "--split", "--bpe-dir", "--overwrite"], n=1)
    hint = f"did you mean {close[0]}?" if close else "see rxf generate --help"
    return f"{flag} is no flag of rxf generate or fairseq-generate: {hint}"
