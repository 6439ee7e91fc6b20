"""docs/fixes.md: what is mended in fairseq, read off the fixes themselves."""

import importlib
import inspect
import re

__all__ = ["page"]

INTRODUCTION = """# What is mended in fairseq, and how to turn it off

The recipes here meet defects of fairseq 0.12.2 that have nothing to do with a method. Each is
mended from outside, by one file in `rxf/fairseq_fixes`, when rxf is imported (`--user-dir rxf`);
nothing of fairseq is edited on disk. What has to be mended before a plugin can be imported, is
mended in the wheel: see [Installing](install.md#what-the-wheel-changes).

```bash
RXF_FIXES=off fairseq-train ...                      # none of them
RXF_FIXES=ngram-blocking,amp-unscale fairseq-train ...   # all but these
rxf doctor                                           # which are on
```

A name that is no fix ends the command. Methods that need a fix say so when it is off. With all
fixes off, training takes fairseq's own path.

"""
ISSUE = re.compile(r"\b(fairseq|metaseq)#(\d+)")
ROLE = re.compile(r":\w+:`~?([^`<]+)`")


def page() -> str:
    """The page, as Markdown."""
    from rxf.fairseq_fixes import MODULES, all_fixes

    fixes = list(zip(MODULES, all_fixes(), strict=True))
    rows = [
        f"| [`{fix.name}`](#{fix.name}) | {_text(fix.symptom)} | {_linked(fix.reference)} |"
        for _, fix in fixes
    ]
    table = "\n".join(
        ["| name | what goes wrong without it | known from |", "|---|---|---|", *rows]
    )
    parts = [_section(module, fix.name, fix.reference) for module, fix in fixes]
    return INTRODUCTION + table + "\n\n" + "\n".join(parts)


def _section(module: str, name: str, reference: str) -> str:
    """What the fix's own file says of it, headed by its name."""
    told = inspect.getdoc(importlib.import_module(f"rxf.fairseq_fixes.{module}")) or ""
    head = f"Known from: {_linked(reference)}. Off by `RXF_FIXES={name}`."
    path = f"../rxf/fairseq_fixes/{module}.py"
    return f"## {name}\n\n{_text(told)}\n\n{head} Code: [{module}.py]({path}).\n"


def _text(text: str) -> str:
    """Prose of a docstring as Markdown: code by single backticks, no roles, bare flags as code."""
    plain = ROLE.sub(r"`\1`", text).replace("``", "`")
    parts = re.split(r"(`[^`]*`)", plain)
    shown = [part if part.startswith("`") else _outside_code(part) for part in parts]
    return "".join(shown)


def _outside_code(text: str) -> str:
    flags = re.sub(r"(?<![\w`-])(--[a-z][\w-]*)", r"`\1`", text)
    return _linked(flags).replace("<", "&lt;")


def _linked(text: str) -> str:
    """Names of issues as links to them."""
    return ISSUE.sub(r"[\1#\2](https://github.com/facebookresearch/\1/issues/\2)", text)
