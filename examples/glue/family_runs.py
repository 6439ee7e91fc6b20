"""What family_runs.sh runs: every task, every method of the registry, every seed.

    ROBERTA=model.pt python examples/glue/family_runs.py DATA OUT SEED...

The environment's JOBS, METHODS and MORE are as family_runs.sh has them.  A run leaves
OUT/TASK/METHOD-SEED.log, what fairseq-train logs, and, if it ran to its end, METHOD-SEED.json:
seconds by the clock and of the processor, the most memory that a process of it had (its resident
set, so Python and torch are in it), and the command.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.methods import registry

Flags = dict[str, Any]

# About one epoch of the 5,000 rows, and 3,200 of CoLA's 8,551.  Warm-up is 6 %.
TASKS: dict[str, Flags] = {
    "SST-2": {"batch_size": 32, "max_update": 156, "warmup_updates": 9},
    "CoLA": {"batch_size": 16, "max_update": 200, "warmup_updates": 12, "report_mcc": True},
}
VALIDATIONS = 4

# What a method gets beside what turns it on; what stands nowhere here runs with its defaults.
# Set before any result was seen, and not tuned: published settings for RoBERTa where there are
# any (see the method's card), else what the reason says.
SETTINGS: dict[str, Flags] = {
    # The smallest lambda of the published grid, as in the other runs of RESULTS.md.
    "r3f": {"r3f_lambda": 0.1, "eps": 1e-5, "noise_type": "uniform"},
    "r4f": {"r3f_lambda": 0.1, "eps": 1e-5, "noise_type": "uniform"},
    # Published for GLUE with RoBERTa.
    "rdrop": {"rdrop_alpha": 0.7},
    # lr x gamma is 0.1, as published; k and t0 are for runs as short as these, t0 being half of
    # the shorter.
    "recadam": {"recadam_pretrain_cof": 333, "recadam_anneal_k": 0.1, "recadam_anneal_t0": 78},
    # The published comparison.
    "cwgnc": {"component_clip_norm": 0.05},
    # gamma and the rates are as published.  No run here sees a second epoch, so that stage 1 is
    # all there is; K is estimated on two batches, since all of them, 80 times, would take longer
    # than the training.
    "pac": {"pac_gamma": 10, "pac_stage1_epochs": 1, "pac_k_batches": 2},
}
# The released launch lines of the two tasks.
OF_A_TASK: dict[tuple[str, str], Flags] = {
    ("freelb", "SST-2"): {
        "freelb_steps": 3,
        "freelb_adv_lr": 0.1,
        "freelb_init_mag": 1.0,
        "freelb_max_norm": 0.6,
    },
    ("freelb", "CoLA"): {
        "freelb_steps": 4,
        "freelb_adv_lr": 0.025,
        "freelb_init_mag": 0.4,
        "freelb_max_norm": 0.3,
    },
}

# roberta_mini's.
MODEL: Flags = {
    "arch": "roberta",
    "encoder_layers": 4,
    "encoder_embed_dim": 192,
    "encoder_ffn_embed_dim": 768,
    "encoder_attention_heads": 4,
    "max_positions": 512,
}
SHARED: Flags = {
    "user_dir": "rxf",
    "cpu": True,
    "num_workers": 0,
    "no_save": True,
    "task": "sentence_prediction",
    "num_classes": 2,
    "init_token": 0,
    "separator_token": 2,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "required_batch_size_multiple": 1,
    "batch_size_valid": 32,
    "optimizer": "adam",
    "adam_betas": "(0.9,0.98)",
    "adam_eps": 1e-6,
    "weight_decay": 0.01,
    "clip_norm": 0.0,
    "lr_scheduler": "polynomial_decay",
    "lr": 3e-4,
    "log_format": "json",
    "log_interval": 10,
}
# Of these, what masked_lm does not know, or is to do otherwise.
FINE_TUNING_ALONE = ("task", "num_classes", "init_token", "separator_token", "no_save")
SURT = Path(__file__).parent / "surt.sh"


class Run(NamedTuple):
    """What is run once."""

    data: Path
    out: Path
    task: str
    method: str
    seed: str

    @property
    def log(self) -> Path:
        return self.out / self.task / f"{self.method}-{self.seed}.log"


class Command(NamedTuple):
    """Words, and what they want in the environment."""

    words: list[str]
    env: dict[str, str]

    def __str__(self) -> str:
        return shlex.join([*(f"{name}={value}" for name, value in self.env.items()), *self.words])


class Usage(NamedTuple):
    """What a command took: seconds by the clock and of the processor, KiB at its peak."""

    seconds: float
    cpu_seconds: float
    peak_kib: int


def methods() -> list[str]:
    """Plain fine-tuning, and every method that there is for sentences."""
    own = [m.name for m in registry.methods() if m.sentences is not None or m.recipe is not None]
    return [registry.PLAIN.name, *own]


def command(run: Run, pretrained: str, more: str) -> Command:
    """The training; the flags in ``more`` come last, and so hold."""
    if run.method == "surt":
        return course(run, pretrained, more)
    method = registry.find(run.method)
    flags = {**fine_tuning(run), **registry.flags(method, "sentences"), **settings(run)}
    flags["finetune_from_model"] = pretrained
    words = ["fairseq-train", str(run.data / run.task), *spelt_out(flags), *more.split()]
    return Command(words, {})


def course(run: Run, pretrained: str, more: str) -> Command:
    """SURT's two stages, by its recipe, which divides a stage's words at spaces.

    Stage 1 has as many updates of as many rows, at the same rate, as the fine-tuning after it:
    ours, since the recipe's ten epochs would take ten times as long and more.
    """
    tuning = {**fine_tuning(run), **registry.flags(registry.PLAIN, "sentences")}
    shared = {**{k: v for k, v in SHARED.items() if k not in FINE_TUNING_ALONE}, **MODEL}
    masking = {**shared, **schedule(run.task), "disable_validation": True, "seed": run.seed}
    env = {
        "ROBERTA": pretrained,
        "MLM": " ".join([*spelt_out(masking), more]),
        "FINETUNE": " ".join([*spelt_out(tuning), more]),
    }
    return Command([str(SURT), str(run.data / run.task), str(run.log.with_suffix(""))], env)


def fine_tuning(run: Run) -> Flags:
    """What all methods share."""
    task, updates = TASKS[run.task], TASKS[run.task]["max_update"]
    return {
        **SHARED,
        **MODEL,
        **task,
        **schedule(run.task),
        "validate_interval_updates": updates // VALIDATIONS,
        "seed": run.seed,
        "save_dir": run.out / "unused",
        "log_file": run.log,
    }


def schedule(task: str) -> Flags:
    names = ("batch_size", "max_update", "warmup_updates")
    return {**{k: TASKS[task][k] for k in names}, "total_num_update": TASKS[task]["max_update"]}


def settings(run: Run) -> Flags:
    return {**SETTINGS.get(run.method, {}), **OF_A_TASK.get((run.method, run.task), {})}


def spelt_out(flags: Flags) -> list[str]:
    words = []
    for name, value in flags.items():
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(str(value))
    return words


def measured(command: Command, output: Path) -> Optional[Usage]:
    """Run a command, what it prints going to ``output``; None if it fails."""
    started = time.monotonic()
    with output.open("w") as file:
        env = {**os.environ, **command.env}
        process = subprocess.Popen(command.words, env=env, stdout=file, stderr=subprocess.STDOUT)
        # Of this process and of those that it waited for.
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        return None
    seconds = time.monotonic() - started
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss)


def make(run: Run) -> bool:
    """Whether the run is there at the end, now made or before."""
    facts, output, folder = (run.log.with_suffix(end) for end in (".json", ".out", ""))
    if facts.exists():
        return True
    run.log.parent.mkdir(parents=True, exist_ok=True)
    run.log.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.strftime('%T')} {run.log}", flush=True)
    what = command(run, os.environ["ROBERTA"], os.environ.get("MORE", ""))
    usage = measured(what, output)
    if usage is None:
        print(f"failed: see {output}", file=sys.stderr, flush=True)
        return False
    facts.write_text(json.dumps({**usage._asdict(), "command": str(what)}, indent=1) + "\n")
    # SURT's checkpoints.
    shutil.rmtree(folder, ignore_errors=True)
    return True


def main(words: Sequence[str]) -> int:
    data, out = map(Path, words[:2])
    if len(str(out).split()) > 1:
        raise SystemExit(f"OUT {out}: has spaces, at which SURT's recipe would divide it")
    chosen = os.environ.get("METHODS", "").split() or methods()
    if unknown := set(chosen) - set(methods()):
        known = ", ".join(methods())
        raise SystemExit(f"METHODS: there is no {', '.join(sorted(unknown))}; there is {known}")
    runs = [
        Run(data, out, task, method, seed)
        for seed in words[2:]
        for task in TASKS
        for method in chosen
    ]
    pool = ThreadPoolExecutor(int(os.environ.get("JOBS", "1")))
    try:
        return 0 if all(list(pool.map(make, runs))) else 1
    finally:
        # Interrupted, what has not begun does not begin.
        pool.shutdown(cancel_futures=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
