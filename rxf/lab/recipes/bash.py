"""The script of a GLUE task, written from the table of settings."""

import re
import shlex
import textwrap
from collections.abc import Iterable

from rxf.lab.recipes.glue import FORM, FROM_MNLI, Recipe, flag_words
from rxf.lab.recipes.glue_settings import SOURCES
from rxf.lab.recipes.settings import Setting

__all__ = ["script"]

WIDTH = 100
# What a CPU is to do without.
HALF_PRECISION = ("fp16", "fp16_init_scale", "threshold_loss_scale", "fp16_scale_window")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=,+@%-]+")
_SCRIPT = """\
#!/usr/bin/env bash
# {task}, from raw files to GLUE's metric.
#   ROBERTA=model.pt examples/glue/{stem}.sh [--dry-run] RAW WORK METHOD [MORE FLAGS]
#   examples/glue/{stem}.sh --smoke WORK METHOD [MORE FLAGS]
# METHOD is {methods}.  Runs go to WORK/METHOD; MORE FLAGS go to
# fairseq-train last and so overrule these.  README.md beside this file says more.
{mnli}#
# Written by `python -m rxf.lab.recipes --write` from rxf/lab/recipes/glue_settings.py.
#
{sources}set -euo pipefail
source "$(dirname "${{BASH_SOURCE[0]}}")/recipe.sh"
glue_arguments {task} "$@"

task_flags=(
{task_flags})
case $method in
{cases}  *) fail "METHOD $method: give {methods}" ;;
esac
glue_recipe
"""
_MNLI = """\
# MNLI=checkpoint_best.pt in place of ROBERTA starts from a model fine-tuned on MNLI, with a head
# made anew; such runs go to WORK/METHOD-mnli.
"""


def script(recipes: Iterable[Recipe]) -> str:
    """The text of the script that has these recipes, all of one task."""
    known = list(recipes)
    task = known[0].task
    return _SCRIPT.format(
        task=task.name,
        stem=known[0].stem,
        methods=_listed([recipe.name for recipe in known]),
        mnli=_MNLI if task.name in FROM_MNLI else "",
        sources=_sources(known),
        task_flags=_filled([*task.train_flags(), *FORM], "  "),
        cases="".join(_case(recipe) for recipe in known),
    )


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _sources(recipes: list[Recipe]) -> str:
    """A line of the header for each source that the script names."""
    text = "".join(_case(recipe) for recipe in recipes)
    lines = []
    for name, source in SOURCES.items():
        if f"[{name}]" in text:
            certain = "" if source.certainty == "read there" else f" ({source.certainty})"
            lines.append(_comment(f"[{name}] {source.text}{certain}", "# ", hanging="#   "))
    ours = "[ours] not known from any source, with what is unknown and why this value stands in"
    return "".join(lines) + _comment(ours, "# ", hanging="#   ")


def _case(recipe: Recipe) -> str:
    settings = recipe.flags()
    sentences = settings["batch_size"].value
    halves = {name: settings.pop(name) for name in HALF_PRECISION if name in settings}
    spread = "".join(
        _comment(label, "    # ")
        for label in _by_origin({name: recipe.settings[name] for name in ("processes",)})
    )
    return (
        f"  {recipe.name})\n"
        f"    settings_of {recipe.method.model} {recipe.method.nearest}\n"
        f"{spread}"
        f"    batch_of {sentences} {recipe.update_freq} {recipe.processes}\n"
        f"{_array('method_flags', settings)}"
        f"{_array('half_precision', halves)}"
        f"    ;;\n"
    )


def _array(name: str, settings: dict[str, Setting]) -> str:
    """The assignment of an array of flags, those of one origin under its comment."""
    indent = "      "
    groups = "".join(
        _comment(label, f"{indent}# ") + _filled(words, indent)
        for label, words in _by_origin(settings).items()
    )
    return f"    {name}=(\n{groups}    )\n" if groups else f"    {name}=()\n"


def _by_origin(settings: dict[str, Setting]) -> dict[str, list[str]]:
    """Origin, in the words of a comment -> the flags that are from there."""
    found: dict[str, list[str]] = {}
    for name, setting in settings.items():
        found.setdefault(_origin(setting), []).extend(flag_words(name, setting.value))
    return found


def _origin(setting: Setting) -> str:
    if setting.is_known:
        return f"[{setting.source}]" + (f"; {setting.note}" if setting.note else "")
    return f"[ours] {setting.source}; {setting.note}"


def _comment(text: str, indent: str, hanging: str = "") -> str:
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=hanging or indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(f"{line}\n" for line in lines)


def _filled(words: list[str], indent: str) -> str:
    """Flags in lines, a flag and its value never torn apart."""
    pairs: list[str] = []
    for word in words:
        quoted = word if _PLAIN_WORD.fullmatch(word) else shlex.quote(word)
        if word.startswith("--"):
            pairs.append(quoted)
        else:
            pairs[-1] += f" {quoted}"
    lines = [""]
    for pair in pairs:
        if lines[-1] and len(indent) + len(lines[-1]) + 1 + len(pair) > WIDTH:
            lines.append("")
        lines[-1] += f" {pair}" if lines[-1] else pair
    return "".join(f"{indent}{line}\n" for line in lines)
