"""One run of a sweep: its config file, its command, its folder."""

import hashlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf import OmegaConf

from rxf.errors import UserError
from rxf.lab.runs import Run, prepare, record_of, run_all
from rxf.lab.sweep import groups
from rxf.lab.sweep.config import flat, resolved

__all__ = ["SweepRun", "other_settings", "run_of", "work"]


class SweepRun(NamedTuple):
    """``config`` is what ``fairseq-hydra-train`` reads, in YAML."""

    run: Run
    config: str

    @property
    def file(self) -> Path:
        """Named by what is in it, so that other settings make another command."""
        return self.run.folder / f"{_name(self.config)}.yaml"


def run_of(composed: Any, origin: str = "sweep") -> SweepRun:
    """The run that a composed config describes.

    Args:
        composed: by Hydra, from the folder of :func:`rxf.lab.sweep.config.write`.
        origin: what to blame for settings that fairseq does not know.

    Raises:
        UserError: the settings do not fit together, or fairseq does not know one.
    """
    written = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(written, dict)
    groups.check({str(group): v for group, v in written.items() if group != "sweep"}, origin)
    values = resolved(composed)
    sweep = values.pop("sweep")
    updates = int(values["optimization"]["max_update"])
    if updates < 1:
        raise UserError(f"{origin}: optimization.max_update {updates}: must be at least 1")
    folder = Path(values["checkpoint"]["save_dir"])
    hydra = {"run": {"dir": str(folder)}, "output_subdir": None, "job": {"chdir": False}}
    config = yaml.safe_dump({**values, "hydra": hydra})
    # fairseq-hydra-train, of the Python that runs this, found without any PATH.
    command = [sys.executable, "-m", "fairseq_cli.hydra_train"]
    command += ["--config-dir", str(folder), "--config-name", _name(config)]
    # fairseq logs by itself; Hydra's would be another, empty file.
    command += ["hydra/job_logging=none"]
    settings = {
        "task": sweep["task"],
        "task_folder": sweep["task_folder"],
        "method": sweep["method"],
        "seed": values["common"]["seed"],
        "metric": sweep["metric"],
        "maximize": bool(values["checkpoint"]["maximize_best_checkpoint_metric"]),
        "method_flags": sweep["method_flags"],
        "baseline": sweep["baseline"],
    }
    return SweepRun(Run(folder, command, updates, sweep["threads"], settings), config)


def _name(config: str) -> str:
    return f"config-{hashlib.sha256(config.encode()).hexdigest()[:8]}"


def work(composed: Any) -> None:
    """Run it, or let it go on where it was stopped; nothing is done where it has a record.

    Raises:
        UserError: another process is at work on this run.
    """
    asked = run_of(composed)
    if record_of(asked.run) is None:
        prepare(asked.run)
        asked.file.write_text(asked.config, encoding="utf-8")
        run_all([asked.run], jobs=1, title=str(asked.run.folder), show_bar=False)


def other_settings(asked: SweepRun) -> dict[str, tuple[Any, Any]]:
    """How an earlier run in this folder differs: name -> its value, and the one asked for.

    Empty where there is none, or it differs in nothing.
    """
    files = sorted(asked.run.folder.glob("config-*.yaml"), key=lambda path: path.stat().st_mtime)
    if not files or asked.file in files:
        return {}
    before = flat(yaml.safe_load(files[-1].read_text(encoding="utf-8")))
    now = flat(yaml.safe_load(asked.config))
    keys = sorted(set(before) | set(now))
    return {k: (before.get(k), now.get(k)) for k in keys if before.get(k) != now.get(k)}
