"""Who is measured: stock fairseq with and without its R3F, and what rxf has."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from rxf.errors import UserError
from rxf.methods import registry

__all__ = ["GROWTH", "MAIN", "QUICK", "Peer", "additional", "chosen", "known"]

MAIN = (
    *("fairseq-plain", "fairseq-r3f", "plain", "r3f", "separate", "recompute", "clean"),
    *("r4f", "rdrop", "smart", "freelb"),
)
QUICK = GROWTH = ("fairseq-plain", "fairseq-r3f", "plain", "r3f")
PLAIN_CRITERIA = ("sentence_prediction", "label_smoothed_cross_entropy")


@dataclass(frozen=True)
class Peer:
    """One way to make an update; it gets a process of its own.

    Attributes:
        key: what ``--peers`` calls it.
        title: in tables.
        flags: of ``fairseq-train``, in Python's spelling, its criterion among them.
        plugin: with ``--user-dir rxf``; without it the process must not import rxf.
        upstream: with the criteria of fairseq's examples/rxf registered.
        words: flags as words, behind all others.
        environment: of its process, beside what all have.
    """

    key: str
    title: str
    flags: dict[str, Any]
    plugin: bool = True
    upstream: bool = False
    words: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def needs_file(self) -> bool:
        """It starts from a file: an optimizer of its own may want to know the start."""
        return self.flags.get("optimizer", "adam") != "adam"


def known(pairs: bool) -> dict[str, Peer]:
    """Every peer there is for sentences, or for pairs, by key."""
    kind = "generation" if pairs else "sentences"
    plain = {"criterion": PLAIN_CRITERIA[pairs]}
    ours = registry.flags(registry.find("r3f"), kind)
    peers = [
        Peer("fairseq-plain", "fairseq plain", plain, plugin=False),
        Peer("fairseq-r3f", "fairseq R3F", _upstream(ours, pairs), plugin=False, upstream=True),
        Peer("plain", "rxf plain", registry.flags(registry.PLAIN, kind)),
        Peer("r3f", "rxf R3F packed", ours),
        Peer("separate", "rxf R3F separate", {**ours, "r3f_passes": "separate"}),
        Peer("recompute", "rxf R3F recompute", {**ours, "r3f_passes": "recompute"}),
        Peer("clean", "rxf R3F --r3f-grad clean", {**ours, "r3f_grad": "clean"}),
    ]
    for method in registry.methods():
        if method.name != "r3f" and getattr(method, kind) is not None:
            flags = registry.flags(method, kind)
            peers.append(Peer(method.name, f"rxf {method.title}", flags))
    return {peer.key: peer for peer in peers}


def _upstream(ours: dict[str, Any], pairs: bool) -> dict[str, Any]:
    """Its criteria have our names."""
    assert ours["criterion"] == PLAIN_CRITERIA[pairs] + "_r3f"
    return {"criterion": ours["criterion"]}


def chosen(asked: Optional[str], pairs: bool, default: Sequence[str]) -> list[Peer]:
    """The peers of ``--peers``, in the order given; "all" is everything there is.

    Raises:
        UserError: there is none of that name for this family of models.
    """
    there = known(pairs)
    if asked is None:
        return [there[key] for key in default if key in there]
    if asked == "all":
        return list(there.values())
    keys = list(dict.fromkeys(asked.split(",")))
    unknown = [key for key in keys if key not in there]
    if unknown:
        names = ", ".join(there)
        raise UserError(f"--peers {unknown[0]}: there is none; choose all, or from {names}")
    return [there[key] for key in keys]


def additional(text: str, pairs: bool) -> Peer:
    """The peer of ``--also "TITLE: [NAME=VALUE ...] [FLAGS ...]"``: R3F packed with that.

    Raises:
        UserError: it is not of this form.
    """
    title, colon, rest = text.partition(":")
    if not (colon and title.strip() and rest.strip()):
        raise UserError(f'--also {text}: give "TITLE: [NAME=VALUE ...] [FLAGS ...]"')
    words = shlex.split(rest)
    environment = {}
    while words and re.fullmatch(r"[A-Z][A-Z0-9_]*=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    flags = registry.flags(registry.find("r3f"), "generation" if pairs else "sentences")
    name = title.strip()
    return Peer(name, name, flags, words=tuple(words), environment=environment)
