"""Shell commands out of a page's blocks of code: enough of bash to read what people type."""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from docs.markdown import code_blocks

__all__ = ["Command", "commands"]

LANGUAGES = ("bash", "sh", "shell")
# An indented or unmarked block holds commands where its first word is one of these, or sets a
# variable in front of one.
BEGINS = re.compile(
    r"^(\w+=\S+ )*(rxf |fairseq-\w+ |torchrun |scripts/\w|examples/\w|python -m |pip )"
)
HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1(.*?)\n.*?^\2$", re.DOTALL | re.MULTILINE)
SETS = re.compile(r"^\w+=")
VARIABLE = re.compile(r"\$(?:\{(\w+)[^}]*\}|(\w+))")
SUBSHELL = re.compile(r"\$\(([^()]*)\)")
SEPARATORS = set(";|&()")
KEYWORDS = {"do", "then", "else", "if", "while", "!", "{"}
ENDS = {"done", "fi", "}"}


class Command(NamedTuple):
    """A command as it would be run.

    Attributes:
        line: of the block that it stands in.
        env: variables that are set for it, by itself or before in the page.
        words: of the command; variables that nothing has set stand as their names.
    """

    line: int
    env: dict[str, str]
    words: list[str]


def commands(text: str) -> list[Command]:
    """The commands of a page, in their order; what is set or exported holds for the rest."""
    found: list[Command] = []
    known: dict[str, str] = {}
    for block in code_blocks(text):
        plain = not block.language and BEGINS.match(block.text)
        if block.language in LANGUAGES or plain:
            for words in _simple(block.text):
                found += _command(block.line, words, known)
    return found


def _command(line: int, words: list[str], known: dict[str, str]) -> Iterator[Command]:
    while words and words[0] in KEYWORDS:
        words = words[1:]
    if not words or words[0] in ENDS:
        return
    if words[0] == "for":
        known[words[1]] = words[3]
        return
    if words[0] == "export":
        pairs = [word.partition("=") for word in words[1:]]
        known.update({name: value for name, _, value in pairs})
        return
    own: dict[str, str] = {}
    while words and SETS.match(words[0]):
        name, value = words.pop(0).split("=", 1)
        own[name] = value
    if not words:
        known.update(own)
        return
    env = {**known, **own}
    yield Command(line, env, [_expanded(word, env) for word in words])


def _expanded(word: str, env: dict[str, str]) -> str:
    def value(found: re.Match) -> str:
        name = found[1] or found[2]
        # Three dots are for the reader to fill in.
        return name if env.get(name, "...") == "..." else env[name]

    return VARIABLE.sub(value, word)


def _simple(text: str) -> Iterator[list[str]]:
    """The words of each simple command: no loops, pipes, substitutions left in it."""
    joined = HEREDOC.sub(r"\3", text).replace("\\\n", " ")
    for line in joined.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>")
        lexer.whitespace_split = True
        yield from _parts(list(lexer))


def _parts(tokens: list[str]) -> Iterator[list[str]]:
    words: list[str] = []
    redirected = False
    for token in tokens:
        if token and set(token) <= SEPARATORS:
            yield words
            words = []
        elif token and set(token) <= set("<>&"):
            redirected = True
        elif redirected:
            redirected = False
        else:
            for inner in SUBSHELL.findall(token):
                yield from _parts(shlex.split(inner))
            words.append(token)
    yield words
