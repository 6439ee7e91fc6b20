"""Whether a command of a page is one that would be understood: by the parsers it would meet."""

import argparse
import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from tests.docs.shell import Command
from tests.support import REPO

__all__ = ["named", "problem"]

PYTHON = {"python", "python3", ".venv/bin/python"}
TOOLS = {"ruff", "mypy", "pre-commit", "source", "cd", "cp", "git", "echo", "mkdir"}
# What has to stand before the flags that a page shows, where it shows no --arch.
BASES: list[list[str]] = [
    ["--task", "sentence_prediction", "--arch", "roberta_large"],
    ["--task", "translation", "--arch", "bart_large"],
    ["--task", "masked_lm", "--arch", "roberta_large"],
]
NEEDED = re.compile(r"\$\{(\d+):\?")
OUTER = ("BART", "BPE", "GPUS", "NODES", "NODE_RANK", "PRETRAINED", "ROBERTA", "RXF_DATA", "XLMR")


def problem(command: Command) -> Optional[str]:
    """What is wrong with the command; None where nothing is.

    Paths of the user's own need not exist. Three dots stand for more flags.
    """
    words = _certain(command.words)
    name = words[0]
    if name.startswith("--"):
        return _trained(["data", *words])
    if name == "rxf":
        return _rxf(words[1:])
    if name in FAIRSEQ:
        return FAIRSEQ[name](words[1:])
    if name == "torchrun":
        return _torchrun(words[1:])
    if name in PYTHON:
        return _python(words[1:])
    if name in ("pip", "pytest"):
        return _pip(words[1:]) if name == "pip" else _paths(words[1:])
    if name.endswith(".sh") or name == ".ci/run":
        return _script(Command(command.line, command.env, words))
    return None if name.rpartition("/")[2] in TOOLS else f"{name}: no command that is known here"


def named(span: str) -> Optional[str]:
    """What is wrong with a command that a sentence names, often without all of its words."""
    words = span.split()
    if words[0] == "rxf" and words[1:] and words[1].islower():
        from rxf.cli import SUBCOMMANDS

        known = words[1] in [subcommand.name for subcommand in SUBCOMMANDS]
        return None if known else f"{span}: no such subcommand"
    if words[0] in PYTHON and words[1:2] == ["-m"]:
        return _module(words[2], words[3:])
    if words[0] == "pytest" or (words[0].endswith(".sh") and "/" in words[0]):
        return _paths(words)
    return None


def _certain(words: Sequence[str]) -> list[str]:
    """The words without dots and without what stands in brackets, which nobody has to give."""
    kept: list[str] = []
    depth = 0
    for word in words:
        depth += word.startswith("[")
        if depth == 0 and word != "...":
            kept.append(word)
        depth -= word.endswith("]") and depth > 0
    if "..." in words and kept[0] in FAIRSEQ and _begins_with_flag(kept[1:] or ["-"]):
        kept.insert(1, "data")
    return kept


# ----------------------------------------------------------------------- by parsers


def _refusal(parse: Callable[[], Any]) -> Optional[str]:
    """What a parser says against it, in one line."""
    from rxf.errors import UserError

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parse()
    except SystemExit as end:
        if end.code not in (0, None):
            return (said.getvalue().strip().splitlines() or [f"exit status {end.code}"])[-1]
    except (UserError, LookupError, argparse.ArgumentError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _rxf(words: list[str]) -> Optional[str]:
    from rxf.cli import SUBCOMMANDS

    entry = next((s for s in SUBCOMMANDS if words and s.name == words[0]), None)
    if entry is None:
        return f"rxf {' '.join(words[:1])}: no such subcommand"
    module = importlib.import_module(entry.module)
    parser = argparse.ArgumentParser(prog=f"rxf {entry.name}")
    module.add_arguments(parser)
    parse = getattr(module, "parse", argparse.ArgumentParser.parse_args)
    read: list[argparse.Namespace] = []
    refused = _refusal(lambda: read.append(parse(parser, words[1:])))
    return refused or (_more(entry.name, read[0]) if read else None)


def _more(name: str, args: argparse.Namespace) -> Optional[str]:
    """What the subcommand leaves to fairseq, or to Hydra, is read by them."""
    flags = getattr(args, "flags", [])
    if name == "generate":
        return _parsed("get_generation_parser", ["data", *flags])
    if name == "probe" and flags:
        return _trained(["data", *flags])
    return _refusal(lambda: _methods_and_overrides(args)) if hasattr(args, "methods") else None


def _methods_and_overrides(args: argparse.Namespace) -> None:
    from rxf.lab.model_flags import TINY
    from rxf.lab.sweep import grid, groups

    settings = args.settings if hasattr(args, "settings") else args.set
    grid.choices(args.methods, settings, [], groups.model_defaults(TINY))
    for text in getattr(args, "overrides", []):
        group, _, key = text.partition("=")[0].partition(".")
        if group in groups.TYPED and key not in groups.typed(group):
            raise LookupError(f"OVERRIDE {text}: fairseq's {group} has no {key}")


def _trained(words: list[str]) -> Optional[str]:
    """By fairseq-train; the first refusal where it refuses them behind every base."""
    bases: list[list[str]] = [[]] if "--arch" in words else BASES
    refusals = [_parsed("get_training_parser", [*base, *words]) for base in bases]
    return None if None in refusals else refusals[0]


def _parsed(getter: str, words: Sequence[str]) -> Optional[str]:
    """By one of fairseq's parsers; --user-dir is the checkout, wherever the page has it."""
    from fairseq import options

    import rxf  # noqa: F401  (registers its names)

    known = list(words)
    for index, word in enumerate(known[:-1]):
        if word == "--user-dir":
            known[index + 1] = str(REPO / "rxf")
    parser = getattr(options, getter)()
    return _refusal(lambda: options.parse_args_and_arch(parser, known))


def _by(getter: str) -> Callable[[list[str]], Optional[str]]:
    return lambda words: _parsed(getter, words)


FAIRSEQ: dict[str, Callable[[list[str]], Optional[str]]] = {
    "fairseq-train": _trained,
    "fairseq-validate": _by("get_validation_parser"),
    "fairseq-generate": _by("get_generation_parser"),
    "fairseq-preprocess": _by("get_preprocessing_parser"),
}


def _torchrun(words: list[str]) -> Optional[str]:
    from torch.distributed.run import get_args_parser

    read: list[argparse.Namespace] = []
    refused = _refusal(lambda: read.append(get_args_parser().parse_args(words)))
    if refused:
        return refused
    script = Path(read[0].training_script).name
    return FAIRSEQ.get(script, _no_trainer)(read[0].training_script_args)


def _no_trainer(words: list[str]) -> str:
    return "torchrun: runs none of fairseq's commands"


# --------------------------------------------------------------- by files of the repo


def _python(words: list[str]) -> Optional[str]:
    if words[:1] == ["-m"] and len(words) > 1:
        return _module(words[1], words[2:])
    if not words or words[0].startswith("-"):
        return None
    script = REPO / words[0]
    if not script.is_file():
        return f"{words[0]}: there is no such file"
    return _flags_in(words[1:], [script])


def _module(name: str, words: list[str]) -> Optional[str]:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        return f"python -m {name}: there is no such module"
    if not Path(spec.origin).is_relative_to(REPO):
        return None
    harness = REPO / "benchmarks" / "harness.py"
    folder = Path(spec.origin).parent
    sources = list(folder.glob("*.py")) if spec.submodule_search_locations else [Path(spec.origin)]
    return _flags_in(words, [*sources, harness])


def _flags_in(words: Sequence[str], sources: Sequence[Path]) -> Optional[str]:
    """A script's flags must stand in its text."""
    text = "\n".join(source.read_text(encoding="utf-8") for source in sources)
    for word in words:
        flag = word.split("=")[0]
        if flag.startswith("--") and len(flag) > 2 and f'"{flag}"' not in text:
            return f"{flag}: no flag of {sources[0].relative_to(REPO)}"
    return None


def _paths(words: Sequence[str]) -> Optional[str]:
    for word in words:
        path = word.split("::")[0]
        if "/" in path and not path.startswith("-") and not (REPO / path).exists():
            return f"{path}: there is no such path"
    return None


def _pip(words: Sequence[str]) -> Optional[str]:
    """Extras of rxf must be in setup.py."""
    text = (REPO / "setup.py").read_text(encoding="utf-8")
    for word in words:
        found = re.match(r"(?:rxf|\.)\[([\w,]+)\]$", word)
        for extra in found[1].split(",") if found else []:
            if f'"{extra}": [' not in text:
                return f"{word}: setup.py has no extra {extra}"
    return None


# ----------------------------------------------------------------------- by scripts


def _script(command: Command) -> Optional[str]:
    name, *words = command.words
    path = REPO / name
    if not path.is_file() or not os.access(path, os.X_OK):
        return f"{name}: there is no such script, or it cannot be run"
    text = path.read_text(encoding="utf-8")
    if words[:1] == ["--smoke"]:
        return _smoke(name, words[1:])
    if name == "scripts/download.sh":
        return _download(words)
    if "--dry-run" in text:
        return _dry_run(command)
    if name == "scripts/quickstart.sh":
        from rxf.lab.quickstart.__main__ import build_parser

        return _refusal(lambda: build_parser().parse_args(words))
    if name == "scripts/test.sh":
        return _paths(words)
    return _by_its_text(name, text, words)


def _by_its_text(name: str, text: str, words: list[str]) -> Optional[str]:
    """Of a script that cannot be asked: its arguments by number, its flags by name."""
    own = [word for word in words if not word.startswith("-")]
    wanted = max([int(number) for number in NEEDED.findall(text)], default=0)
    wanted = max(wanted, len(re.findall(r"^\w+=\$\{\d:\?", text, flags=re.MULTILINE)))
    if len(own) < wanted:
        return f"{name}: wants {wanted} arguments, and gets {len(own)}"
    behind = words[wanted:]
    if "fairseq-train" in text and name.startswith("examples/") and _begins_with_flag(behind):
        return _trained(["data", *behind])
    unknown = [word for word in words if word.startswith("--") and word not in text]
    return f"{name}: does not know {unknown[0]}" if unknown else None


def _smoke(name: str, words: list[str]) -> Optional[str]:
    """WORK and more, then flags; the stand-in is made by the script or by what it sources."""
    sources = [REPO / name, *(REPO / name).parent.glob("*.sh")]
    if not any("make_stand_in()" in source.read_text(encoding="utf-8") for source in sources):
        return f"{name}: has no --smoke"
    own = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    if own == 0:
        return f"{name} --smoke: wants WORK"
    return _trained(["data", *words[own:]])


def _download(words: list[str]) -> Optional[str]:
    """It prints addresses and no commands; without a name it lists them."""
    names = [word for word in words if word != "--dry-run"]
    dry = ["--dry-run", *names] if names else []
    done = _run(REPO / "scripts/download.sh", dry, {})
    return None if done.returncode == 0 else _last_line(done)


def _begins_with_flag(words: Sequence[str]) -> bool:
    return bool(words) and words[0].startswith("-")


def _dry_run(command: Command) -> Optional[str]:
    """Run it with --dry-run; what it prints is checked as if it stood in the page."""
    name, *words = command.words
    words = [word for word in words if word != "--dry-run"]
    done = _run(REPO / name, ["--dry-run", *words], command.env)
    if done.returncode:
        return _last_line(done)
    printed = [shlex.split(line) for line in done.stdout.splitlines()]
    found = [problem(Command(command.line, {}, line)) for line in printed if line]
    return next((f"{name} --dry-run: {each}" for each in found if each), None)


def _run(
    script: Path, words: Sequence[str], env: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    outer = {key: value for key, value in os.environ.items() if key not in OUTER}
    outer["PATH"] = f"{Path(sys.executable).parent}:{outer['PATH']}"
    return subprocess.run(
        [str(script), *words],
        cwd=REPO,
        env={**outer, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
