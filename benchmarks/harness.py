"""How the benchmarks measure: peers take turns for time, and get a process each for memory.

Time.  All peers live in one process and take turns, so that what else the machine does hits
all of them alike.  A ratio is taken within each round and given as the median of the rounds,
with the smallest and the largest; the first rounds are not counted.

Memory.  Each peer runs alone in a fresh process.  On a CPU the figure is the largest resident
set during an update minus the one before the model was built, with an allocator that hands
every freed block above 64 KB straight back; on a GPU it is what the allocator had given out
at most.
"""

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import torch

__all__ = [
    "FREE_AT_ONCE",
    "compared",
    "in_own_process",
    "machine",
    "peak_memory",
    "ratio_with_spread",
    "resident_now",
    "save",
    "synchronize",
    "table",
    "take_turns",
]

MIB = 2**20


def take_turns(
    peers: Mapping[str, Callable[[], None]], rounds: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each call: name -> one figure a round."""
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(warm_up + rounds):
        for name, run in peers.items():
            gc.collect()
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def resident_now() -> int:
    """Bytes of this process that are in memory now."""
    return _status("VmRSS")


def peak_memory(run: Callable[[], None], baseline: int) -> float:
    """MiB above ``baseline`` at the peak of ``run``, after one run that is not counted."""
    run()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() / MIB
    gc.collect()
    # Linux sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    run()
    return (_status("VmHWM") - baseline) / MIB


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


# glibc then hands every freed block above 64 KB straight back, which takes its time.
FREE_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def in_own_process(module: str, arguments: Sequence[str]) -> Any:
    """What ``python -m module arguments`` prints as its last line, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **FREE_AT_ONCE},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(measured: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """Median seconds, and the ratio to ``base`` round by round: median, least and most."""
    ratios = [own / first for own, first in zip(measured, base, strict=True)]
    return {
        "seconds": statistics.median(measured),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
        "rounds": list(measured),
    }


def ratio_with_spread(figures: Mapping[str, Any]) -> str:
    """The ratio of :func:`compared` as a cell of a table."""
    least, most = figures["ratio_least"], figures["ratio_most"]
    return f"{figures['ratio']:.2f} ({least:.2f} to {most:.2f})"


def table(
    seconds: Mapping[str, Sequence[float]], memory: Optional[Mapping[str, float]] = None
) -> tuple[str, dict[str, Any]]:
    """A Markdown table of times and memory relative to the first peer, and its figures."""
    base = next(iter(seconds))
    figures: dict[str, Any] = {}
    lines = ["| peer | seconds | time ratio (least to most) | peak MiB | memory ratio |"]
    lines.append("|---|---|---|---|---|")
    for name, measured in seconds.items():
        figures[name] = compared(measured, seconds[base])
        cells = [name, f"{figures[name]['seconds']:.3g}", ratio_with_spread(figures[name])]
        if memory:
            figures[name]["peak_mib"] = memory[name]
            figures[name]["memory_ratio"] = memory[name] / memory[base]
            cells += [f"{memory[name]:.0f}", f"{memory[name] / memory[base]:.2f}"]
        else:
            cells += ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines), figures


def machine() -> dict[str, Any]:
    """What a figure needs beside it."""
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fairseq": importlib.metadata.version("fairseq"),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": cuda,
    }


def _commit() -> str:
    """Of this checkout, "+" where it has changes; empty where git does not know it."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def save(path: Optional[Path], command: str, figures: Mapping[str, Any]) -> None:
    """Write figures, command and machine as JSON, where a path is given."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"command": command, "machine": machine(), "figures": figures}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
