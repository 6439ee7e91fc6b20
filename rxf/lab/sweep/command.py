"""The command line of `rxf sweep`."""

import argparse
import contextlib
import logging
import shlex
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from rxf.errors import UserError
from rxf.lab.asked import seeds_of
from rxf.lab.model_flags import flags_from_checkpoint, suggested_lr
from rxf.lab.prepared import Prepared
from rxf.lab.runs import processors, record_of
from rxf.lab.sweep import config, grid, groups
from rxf.lab.sweep.config import OWNED
from rxf.lab.sweep.grid import Choice
from rxf.lab.sweep.launch import LAUNCHERS, launch, launcher_words, locked, multirun, reserve
from rxf.lab.sweep.one_run import SweepRun, other_settings, run_of

__all__ = ["add_arguments", "parse", "run"]

STOPPED = 130
HYDRA_FOLDER = "hydra"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of all results")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="OVERRIDE",
        help="Hydra override of fairseq's settings for all runs, as optimization.max_update=200 "
        "or sweep.epochs=3, or of the launcher's, as hydra.launcher.timeout_min=60",
    )
    parser.add_argument(
        "--tasks", type=Path, nargs="+", required=True, metavar="DIR", help="prepared tasks"
    )
    parser.add_argument(
        "--pretrained", type=Path, required=True, metavar="FILE", help="a RoBERTa's .pt file"
    )
    parser.add_argument("--methods", default="plain,r3f", help="names of `rxf methods` (plain,r3f)")
    parser.add_argument("--seeds", default="1-5", help="ranges and lists (1-5)")
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="METHOD.NAME=VALUE",
        help="a method's setting, as r3f.r3f_lambda=0.1; may be given again",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="fairseq-hydra-train YAML that all runs share"
    )
    parser.add_argument("--launcher", choices=list(LAUNCHERS), help="Hydra's (joblib)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (a core each)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of a run (1)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed runs once more")
    parser.add_argument(
        "--overwrite", action="store_true", help="run anew what other settings have filled"
    )
    parser.add_argument("--dry-run", action="store_true", help="check all, and say what would run")


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Overrides may stand before and after the flags, after the folders of --tasks, too."""
    args = parser.parse_intermixed_args(words)
    strays = [path for path in args.tasks if "=" in str(path) and not path.exists()]
    args.tasks = [path for path in args.tasks if path not in strays]
    args.overrides += map(str, strays)
    return args


def run(args: argparse.Namespace) -> int:
    """Run what is not finished; returns 0 if every run is then, 1 if some have failed."""
    # fairseq tells of every file that it loads.
    logging.disable(logging.INFO)
    out = args.out.resolve()
    try:
        return _sweep(args, out)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return STOPPED


def _sweep(args: argparse.Namespace, out: Path) -> int:
    _check_numbers(args)
    overrides = _checked(args.overrides)
    launcher = args.launcher or "joblib"
    words = launcher_words(launcher, args.jobs or _default_jobs(launcher))
    seeds = seeds_of(args.seeds)
    tasks, choices, write = _asked(args, out)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        runs = _compose(Path(folder), tasks, choices, seeds, [*words, *args.overrides])
    lists = [
        *(f"common.seed={','.join(map(str, seeds))}",),
        *(f"sweep/task={','.join(task.name for task in tasks)}",),
        *(f"sweep/method={','.join(choice.method.name for choice in choices)}",),
    ]
    command = multirun(out / HYDRA_FOLDER, [*lists, *words, *overrides])
    if args.dry_run:
        print(_plan(runs, args.retry_failed))
        print(f"\n{shlex.join(command)}")
        return 0
    with locked(out):
        _check_settings(runs, args.overwrite)
        write(out / HYDRA_FOLDER)
        _work(runs, command, out, args.retry_failed)
    return _report(runs, out)


def _check_numbers(args: argparse.Namespace) -> None:
    for name in ("jobs", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")


def _checked(overrides: Sequence[str]) -> list[str]:
    """The same for Hydra's multirun, where what a method brings is not there to be overridden.

    It composes once without any task and method, and ``++`` makes what is missing.  Whether
    a setting exists is asked before, of every task with every method, without it.

    Raises:
        UserError: an override cannot be read, means several values, or is the sweep's own.
    """
    parser = OverridesParser.create()
    forced = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            raise UserError(f"OVERRIDE {text}: {str(error).splitlines()[0]}") from None
        _check_override(text, override)
        launchers = str(override.key_or_group).startswith("hydra.")
        forced.append(text if launchers else "++" + text.lstrip("+"))
    return forced


def _check_override(text: str, override: Override) -> None:
    key = str(override.key_or_group)
    if override.is_delete():
        raise UserError(f"OVERRIDE {text}: nothing can be taken away: give the value it is to have")
    if override.is_sweep_override():
        raise UserError(f"OVERRIDE {text}: one value for all runs: sweep others in another OUT")
    own = key.startswith(("sweep", "hydra")) and not key.startswith("hydra.launcher.")
    if key in OWNED or (own and key != "sweep.epochs"):
        raise UserError(f"OVERRIDE {text}: the sweep sets {key} itself")


def _default_jobs(launcher: str) -> int:
    if launcher == "submitit_slurm":
        return 256
    return 1 if launcher != "joblib" or torch.cuda.is_available() else processors()


def _asked(args: argparse.Namespace, out: Path) -> tuple[list[Prepared], list[Choice], Any]:
    """The tasks, the methods, and what writes Hydra's configs of them to a folder."""
    tasks = grid.read_tasks(args.tasks)
    sizes = flags_from_checkpoint(args.pretrained, "--pretrained")
    model = groups.model_defaults(sizes)
    choices = grid.choices(args.methods, args.settings, tasks, model)
    shared = config.shared_config(args.config, suggested_lr(sizes))

    def write(folder: Path) -> None:
        pretrained = args.pretrained.resolve()
        config.write(folder, out, shared, model, pretrained, tasks, choices, args.threads)

    return tasks, choices, write


def _compose(
    folder: Path,
    tasks: Sequence[Prepared],
    choices: Sequence[Choice],
    seeds: Sequence[int],
    words: Sequence[str],
) -> list[SweepRun]:
    """Every run, as Hydra will compose it, in Hydra's order.

    Raises:
        UserError: some task with some method cannot be composed with these overrides.
    """
    with _hydra(folder):
        composed = [
            (_composed(task, choice, words), f"task {task.name}, method {choice.method.name}")
            for task in tasks
            for choice in choices
        ]
    runs = []
    for seed in seeds:
        for cfg, origin in composed:
            cfg.common.seed = seed
            runs.append(run_of(cfg, origin))
    return runs


@contextlib.contextmanager
def _hydra(folder: Path) -> Iterator[None]:
    """Compose from ``folder`` meanwhile."""
    with warnings.catch_warnings():
        # fairseq composes in the same process, by a call that 1.2 gave up; Hydra warns of 1.1.
        warnings.simplefilter("ignore")
        with initialize_config_dir(str(folder), job_name="sweep", version_base="1.1"):
            yield


def _composed(task: Prepared, choice: Choice, words: Sequence[str]) -> Any:
    name = choice.method.name
    try:
        return compose("sweep", [f"sweep/task={task.name}", f"sweep/method={name}", *words])
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        told = " ".join(line for line in lines[:3] if not line.startswith("object_type"))
        raise UserError(f"OVERRIDE: task {task.name}, method {name}: {told}") from None


def _check_settings(runs: Sequence[SweepRun], overwrite: bool) -> None:
    """Refuse to throw away what runs with other settings have left.

    Raises:
        UserError: there is such a run, and ``--overwrite`` was not given.
    """
    for asked in runs if not overwrite else []:
        for name, (before, now) in other_settings(asked).items():
            raise UserError(
                f"{asked.run.folder}: was run with {name} {_told(before)}, now it is "
                f"{_told(now)}: name another OUT, or give --overwrite to run it anew"
            )


def _told(value: Any) -> str:
    return "not set" if value is None else str(value)


def _work(runs: Sequence[SweepRun], command: list[str], out: Path, retry_failed: bool) -> None:
    waiting = [asked.run for asked in runs if _state(asked, retry_failed) == "to run"]
    if not waiting:
        return
    reserve(waiting)
    for one in waiting:
        one.record.unlink(missing_ok=True)
    launch(command, [asked.run for asked in runs], out / "sweep.log")


def _state(asked: SweepRun, retry_failed: bool) -> str:
    record = record_of(asked.run)
    if record is None or (record["status"] == "failed" and retry_failed):
        return "to run"
    return str(record["status"])


def _plan(runs: Sequence[SweepRun], retry_failed: bool) -> str:
    """A line a run: its folder, its state, its updates."""
    lines = []
    for asked in runs:
        state = "differs" if other_settings(asked) else _state(asked, retry_failed)
        lines.append(f"{state:<9} {asked.run.updates:>8} updates  {asked.run.folder}")
    return "\n".join(lines)


def _report(runs: Sequence[SweepRun], out: Path) -> int:
    states = [_state(asked, retry_failed=False) for asked in runs]
    failed = states.count("failed")
    print(f"{states.count('finished')} of {len(runs)} runs finished, {failed} failed, in {out}")
    for asked in runs:
        record: Optional[dict[str, Any]] = record_of(asked.run)
        if record is not None and record["status"] == "failed":
            print(f"  failed: {asked.run.folder}: {record['error']}")
    if failed:
        print("--retry-failed runs the failed ones once more.")
    return 1 if failed else 0
