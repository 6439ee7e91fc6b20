"""SURT's first stage: masked language modelling on a task's own text, one seed.

python examples/probing/surt_stage.py MODEL.pt TASK OUT SEED [FLAGS OF FAIRSEQ-TRAIN]

TASK is a folder of `rxf prepare glue`.  OUT gets text/ and SEED/checkpoint_last.pt, from which
the fine-tuning sets out; what is there already is not made again.  As many updates of as many
rows, at the same rate, as the fine-tunings of probing_runs.sh: ours, the paper's could not be had.
"""

import subprocess
import sys
from pathlib import Path

from rxf.lab.model_flags import flags_from_checkpoint, model_flags

RECIPE = """
--user-dir rxf --task masked_lm --criterion masked_lm --sample-break-mode eos --mask-prob 0.15
--dropout 0.1 --attention-dropout 0.1 --batch-size 32 --required-batch-size-multiple 1
--optimizer adam --adam-betas (0.9,0.98) --adam-eps 1e-6 --weight-decay 0.01 --clip-norm 0.0
--lr 3e-4 --lr-scheduler polynomial_decay --warmup-updates 9 --total-num-update 156
--max-update 156 --find-unused-parameters --no-epoch-checkpoints --disable-validation
--skip-invalid-size-inputs-valid-test --num-workers 0 --log-format json --log-interval 10
"""


def main(model: str, task: str, out: str, seed: str, *more: str) -> None:
    """See the module's text."""
    text, folder = Path(out, "text"), Path(out, seed)
    if (folder / "done").exists():
        return
    subprocess.run(["rxf", "prepare", "surt", task, str(text)], check=True)
    shape = model_flags(flags_from_checkpoint(Path(model), "MODEL.pt"))
    start = ["--finetune-from-model", model, "--save-dir", str(folder), "--seed", seed]
    command = ["fairseq-train", str(text), *RECIPE.split(), *shape, *start, *more]
    with open(Path(out, f"{seed}.log"), "w", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    (folder / "done").touch()


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(f"usage: python {sys.argv[0]} MODEL.pt TASK OUT SEED [FLAGS]")
    main(*sys.argv[1:])
