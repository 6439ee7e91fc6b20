"""Fine-tunings one after another, each from the encoder that the one before left.

OUT/runs/METHOD/seed-N/STEP-TASK/   run.json, train.log, encoder.pt (the best checkpoint
                                    without head and optimizer)
OUT/inputs.json                     what data and which model the folder is of

All chains take a step before any takes the next, several of them at a time.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rxf.errors import UserError, check_number
from rxf.lab.asked import check_classes, seeds_of
from rxf.lab.files import read_json, write_json
from rxf.lab.fine_tuning import Recipe, fine_tune_command
from rxf.lab.model_flags import flags_from_checkpoint, model_flags, suggested_lr
from rxf.lab.prepared import Prepared
from rxf.lab.probe.encoder import file_fingerprint, keep_encoder
from rxf.lab.probe.method_flags import check_command, method_flags
from rxf.lab.probe.probing import Prober, add_probe_arguments
from rxf.lab.probe.task_data import task_fingerprint
from rxf.lab.runs import Run, processors, run_all
from rxf.methods import registry

__all__ = ["Chains", "Probed", "Step", "add_chain_arguments"]

Row = dict[str, Any]


class Step(NamedTuple):
    """Fine-tune on one task, then probe another, or the same."""

    trained_on: Prepared
    probed: Prepared


class Probed(NamedTuple):
    """One probe of one chain; ``step`` counts from 0."""

    method: str
    seed: int
    step: int
    value: float


class Chain(NamedTuple):
    """One method and seed, all the way; ``start`` is what its next step starts from."""

    method: str
    seed: int
    start: Path


def add_chain_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that degradation and retention share."""
    parser.add_argument("--pretrained", type=Path, required=True, metavar="FILE")
    parser.add_argument("--methods", default="plain,r3f,r4f", help="of `rxf methods` (%(default)s)")
    parser.add_argument("--seeds", default="1-3", help="as 1-3 or 1,2,7 (%(default)s)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="METHOD.NAME=VALUE",
        help="a setting of one method, as r3f.r3f_lambda=0.1; any number of times",
    )
    parser.add_argument("--updates", type=int, default=300, help="of every run (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="rows an update (%(default)s)")
    parser.add_argument("--lr", type=float, help="peak learning rate (by the model's size)")
    parser.add_argument("--jobs", type=int, help="runs at a time (a core each; 1 on a GPU)")
    parser.add_argument("--retry-failed", action="store_true", help="run failed runs once more")
    add_probe_arguments(parser)
    parser.epilog = (
        "What follows a -- goes to every fairseq-train and outweighs the flags above, as in: "
        "... --out DIR -- --weight-decay 0.1"
    )


class Chains:
    """The chains of one command.

    Args:
        kind: of the probe, for records and messages.
        args: of :func:`add_chain_arguments`, with ``flags`` for fairseq-train.
        steps: what each chain does.

    Raises:
        UserError: bad input; nothing has been run or written then.
    """

    def __init__(self, kind: str, args: argparse.Namespace, steps: Sequence[Step]) -> None:
        _check_numbers(args)
        self.kind = kind
        self.args = args
        self.steps = steps
        self.out: Path = args.out.resolve()
        self.on_gpu = torch.cuda.is_available() and not args.cpu
        self.prober = Prober(self.out, args, keep_features=False)
        self.methods = method_flags(args.methods, args.set)
        self.seeds = seeds_of(args.seeds)
        self.failed = 0
        self._read_model()
        self._check_runs()

    def _read_model(self) -> None:
        path = self.args.pretrained.resolve()
        self.prober.check(path, self.steps[0].trained_on, "--pretrained")
        settings = flags_from_checkpoint(path)
        self.pretrained = path
        self.model_flags = model_flags(settings)
        self.recipe = Recipe(
            updates=self.args.updates,
            batch_size=self.args.batch_size,
            lr=self.args.lr or suggested_lr(settings),
            on_gpu=self.on_gpu,
        )

    def _check_runs(self) -> None:
        """Every method's command on every task, by fairseq's own parser."""
        tasks = {step.trained_on.name: step.trained_on for step in self.steps}
        for method in self.methods:
            for task in tasks.values():
                check_classes(registry.find(method), task)
                check_command(self._command(method, 1, task, self.pretrained, self.out))

    def run(self) -> list[Probed]:
        """Take every step of every chain; a chain ends where its run fails."""
        self._check_inputs()
        jobs = self.args.jobs or (1 if self.on_gpu else processors())
        chains = [Chain(m, s, self.pretrained) for s in self.seeds for m in self.methods]
        found: list[Probed] = []
        for number, step in enumerate(self.steps):
            runs = [self._run(chain, number, step.trained_on, jobs) for chain in chains]
            title = f"{number + 1}/{len(self.steps)} {step.trained_on.name}"
            records = run_all(runs, min(jobs, len(runs)), title, self.args.retry_failed)
            chains = list(self._survivors(chains, runs, records))
            for chain in chains:
                (cell,) = self.prober.score(chain.start, [step.probed])
                found.append(Probed(chain.method, chain.seed, number, cell["value"]))
            if not chains:
                break
        return found

    def _check_inputs(self) -> None:
        """A folder of other data or of another model would mix them unseen."""
        tasks = {step.trained_on.folder: step.trained_on for step in self.steps}
        now = {str(folder): task_fingerprint(task) for folder, task in tasks.items()}
        now["pretrained"] = file_fingerprint([self.pretrained])
        kept = self.out / "inputs.json"
        before = read_json(kept) or {"kind": self.kind}
        if before.pop("kind", None) != self.kind:
            raise UserError(f"--out {self.out}: holds another probe: name another folder")
        changed = [name for name in now if before.get(name, now[name]) != now[name]]
        if changed:
            raise UserError(
                f"--out {self.out}: its runs are of another {changed[0]} than is there now: name "
                "another folder"
            )
        write_json(kept, {"kind": self.kind, **before, **now})

    def _survivors(
        self, chains: Sequence[Chain], runs: Sequence[Run], records: Sequence[Row]
    ) -> Iterator[Chain]:
        for chain, run, record in zip(chains, runs, records, strict=True):
            if record["status"] == "finished":
                yield chain._replace(start=keep_encoder(run.folder))
                continue
            self.failed += 1
            print(f"the chain ends at {run.folder}: {record['error']}", file=sys.stderr)

    def _run(self, chain: Chain, number: int, task: Prepared, jobs: int) -> Run:
        seed = f"seed-{chain.seed}"
        folder = self.out / "runs" / chain.method / seed / f"{number}-{task.name}"
        settings = {
            "task": task.name,
            "task_folder": str(task.folder),
            "method": chain.method,
            "seed": chain.seed,
            "metric": task.metric,
            "maximize": True,
            "method_flags": self.methods[chain.method],
            "baseline": round(task.baseline, 4),
            # Not a run of its own: it starts from what the step before left.
            "probe": self.kind,
            "step": number,
        }
        command = self._command(chain.method, chain.seed, task, chain.start, folder)
        threads = max(1, processors() // jobs)
        return Run(folder, command, self.recipe.updates, threads, settings)

    def _command(self, method: str, seed: int, task: Prepared, start: Path, folder: Path) -> Any:
        return fine_tune_command(
            task.folder,
            task.flags,
            self.model_flags,
            start,
            [*self.methods[method], *self.args.flags],
            self.recipe,
            seed,
            folder,
        )

    def settings(self) -> Row:
        """For ``probe.json``."""
        return {
            "pretrained": str(self.pretrained),
            "methods": self.methods,
            "seeds": self.seeds,
            "recipe": self.recipe._asdict(),
            "flags": self.args.flags,
        }


def _check_numbers(args: argparse.Namespace) -> None:
    check_number("--updates", args.updates, args.updates > 0, "above 0")
    check_number("--batch-size", args.batch_size, args.batch_size > 0, "above 0")
    if args.lr is not None:
        check_number("--lr", args.lr, args.lr > 0, "above 0")
    if args.jobs is not None:
        check_number("--jobs", args.jobs, args.jobs > 0, "above 0")
