"""Time, memory and parts of every peer in one setting."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import torch

from benchmarks import harness
from benchmarks.training_step.crew import Worker, crew
from benchmarks.training_step.peers import Peer
from benchmarks.training_step.setting import Setting

__all__ = ["Effort", "Measured", "groups", "measure"]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: in which each peer has a turn.
        warm_up: turns before them.
        at_once: processes that live together; None is no limit.
        memory: measure it.
        parts: measure them, and count operations.
        threads: of each process on a CPU.
    """

    rounds: int = 7
    warm_up: int = 2
    at_once: Optional[int] = None
    memory: bool = True
    parts: bool = True
    threads: int = 1


@dataclass
class Measured:
    """One setting's figures.

    Attributes:
        setting: what was trained.
        facts: of the first peer's trainer: parameters, tokens and shapes of the batches.
        figures: key of a peer -> its title and figures, the first being what the others are
            compared with.
    """

    setting: Setting
    facts: dict[str, Any]
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"setting": self.setting.as_dict(), **self.facts, "peers": self.figures}


def groups(peers: Sequence[Peer], at_once: Optional[int]) -> Iterator[list[Peer]]:
    """Peers that take turns with each other: at most so many, the first of all in each.

    Raises:
        ValueError: there is no room for a second beside the first.
    """
    first, *others = peers
    if at_once is not None and at_once < 2:
        raise ValueError(f"--at-once {at_once}: a peer and the first, 2 or more")
    room = (at_once or len(peers)) - 1
    if not others:
        yield [first]
    for start in range(0, len(others), room or 1):
        yield [first, *others[start : start + room]]


def measure(peers: Sequence[Peer], setting: Setting, effort: Effort) -> Measured:
    """All figures of these peers.

    Raises:
        UserError: a peer cannot train here.
    """
    result: Optional[Measured] = None
    for group in groups(peers, effort.at_once):
        with crew(group, setting, effort.warm_up, _threads(effort)) as workers:
            _say(setting, "time", group)
            seconds = [[] for _ in workers]  # type: list[list[float]]
            for _ in range(effort.rounds):
                for worker, own in zip(workers, seconds, strict=True):
                    own.append(worker.ask("turn")["seconds"])
            more = [_more(worker, effort) for worker in workers]
            result = result or Measured(setting, workers[0].facts)
        for peer, own, extra in zip(group, seconds, more, strict=True):
            if peer.key not in result.figures:
                figures = {"title": peer.title, **harness.compared(own, seconds[0]), **extra}
                result.figures[peer.key] = {**figures, "reference_rounds": seconds[0]}
    assert result is not None
    if effort.memory and not torch.cuda.is_available():
        _add_memory(result, peers, effort)
    _add_rates(result)
    return result


def _threads(effort: Effort) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(effort.threads)}


def _say(setting: Setting, what: str, peers: Sequence[Peer]) -> None:
    names = ", ".join(peer.title for peer in peers)
    print(f"{setting.name()}: {what} of {names}", file=sys.stderr, flush=True)


def _more(worker: Worker, effort: Effort) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if effort.parts:
        more = {"parts": worker.ask("parts"), **worker.ask("operations")}
    # Last, and on a CPU by another process: see there.
    if effort.memory and torch.cuda.is_available():
        more["peak_mib"] = worker.ask("memory")["mib"]
    return more


def _add_memory(result: Measured, peers: Sequence[Peer], effort: Effort) -> None:
    """On a CPU, by processes whose allocator gives back at once, which would cost time."""
    environment = {**_threads(effort), **harness.FREE_AT_ONCE}
    at_once = effort.at_once or len(peers)
    for start in range(0, len(peers), at_once):
        group = peers[start : start + at_once]
        with crew(group, result.setting, 0, environment) as workers:
            _say(result.setting, "memory", group)
            for worker in workers:
                result.figures[worker.peer.key]["peak_mib"] = worker.ask("memory")["mib"]


def _add_rates(result: Measured) -> None:
    first = next(iter(result.figures.values()))
    for figures in result.figures.values():
        figures["tokens_per_second"] = result.facts["tokens"] / figures["seconds"]
        if "peak_mib" in figures:
            figures["memory_ratio"] = figures["peak_mib"] / first["peak_mib"]
