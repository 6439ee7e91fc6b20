"""docs/commands.md: every subcommand of `rxf`, by its own --help."""

import argparse
import contextlib
import importlib
import io
import os
from collections.abc import Iterator

__all__ = ["page", "subcommands"]

INTRODUCTION = """# Commands

`rxf SUBCOMMAND --help` prints what stands here. Cards with more:
[sweep](../rxf/lab/sweep/README.md), [report](../rxf/lab/report/README.md),
[probe](../rxf/lab/probe/README.md), [collapse](../rxf/representation/README.md),
[rouge](../rxf/lab/rouge/README.md). The commands of fairseq itself (`fairseq-train`,
`fairseq-validate`, `fairseq-generate`, `fairseq-hydra-train`) take `--user-dir rxf` and then the
[flags](flags.md) of rxf.
"""


def page() -> str:
    """The page, as Markdown."""
    return "\n".join([INTRODUCTION, *(_section(words) for words in subcommands())])


def subcommands() -> Iterator[list[str]]:
    """Each subcommand, and each of its own subcommands, as it is typed behind `rxf`."""
    from rxf.cli import SUBCOMMANDS

    for subcommand in SUBCOMMANDS:
        yield [subcommand.name]
        parser = argparse.ArgumentParser()
        importlib.import_module(subcommand.module).add_arguments(parser)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ([subcommand.name, name] for name in action.choices)


def _section(words: list[str]) -> str:
    level = "##" if len(words) == 1 else "###"
    return f"{level} rxf {' '.join(words)}\n\n```text\n{_help(words)}\n```\n"


def _help(words: list[str]) -> str:
    from rxf.cli import main

    printed = io.StringIO()
    width = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "96"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if width is not None:
            os.environ["COLUMNS"] = width
    return printed.getvalue().strip()
