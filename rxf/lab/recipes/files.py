"""The generated files of ``examples``: what each should hold, and which do not."""

from collections.abc import Iterator
from pathlib import Path

import rxf
from rxf.errors import UserError
from rxf.lab.prepare.glue_tasks import GLUE_TASKS
from rxf.lab.recipes import bash, hydra, table
from rxf.lab.recipes.glue import Recipe, methods_of, recipe, recipes
from rxf.lab.recipes.summarization import SUMMARIZATION, XNLI, Printed, printed

__all__ = ["BEGIN", "END", "generated", "repository", "stale", "write"]

BEGIN = "<!-- settings: begin (python -m rxf.lab.recipes --write) -->"
END = "<!-- settings: end -->"
README = Path("examples/glue/README.md")
_WRITTEN = "Written by `python -m rxf.lab.recipes --write`"


def repository() -> Path:
    """The root of the repository that this code is run from.

    Raises:
        UserError: it is installed elsewhere, without ``examples``.
    """
    root = Path(str(rxf.__file__)).resolve().parents[1]
    if not (root / README).is_file():
        raise UserError(f"{root / README} is not there: run this in a checkout of the repository")
    return root


def generated(root: Path) -> Iterator[tuple[Path, str]]:
    """Path below ``root`` and text of every generated file.

    Raises:
        UserError: the README has not both markers.
    """
    for task in GLUE_TASKS:
        of_task = [recipe(task, method) for method in methods_of(task)]
        yield Path("examples/glue") / f"{of_task[0].stem}.sh", bash.script(of_task)
    for one in recipes():
        path = Path("examples/glue/config") / one.stem / f"{one.name}.yaml"
        yield path, hydra.text(hydra.config(one.words()), _glue_header(one, path))
    for script in SUMMARIZATION:
        path = Path("examples/summarization/config") / script.script / f"{script.method}.yaml"
        header = _summarization_header(script, path)
        yield path, hydra.text(hydra.config(printed(root, script)), header)
    for script in XNLI:
        path = Path("examples/xnli/config") / f"{script.method}.yaml"
        yield path, hydra.text(hydra.config(printed(root, script)), _xnli_header(script, path))
    yield README, _filled_in((root / README).read_text(encoding="utf-8"))


def stale(root: Path) -> list[Path]:
    """The files that do not hold what they should, those that are not there among them."""
    return [path for path, text in generated(root) if _held(root / path) != text]


def write(root: Path) -> list[Path]:
    """Write the files that are stale; returns their paths."""
    written = []
    for path, text in generated(root):
        file = root / path
        if _held(file) != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            if file.suffix == ".sh":
                file.chmod(0o755)
            written.append(path)
    return written


def _held(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _glue_header(one: Recipe, path: Path) -> list[str]:
    lines = [
        f"{one.task.name} with {one.name}, as examples/glue/{one.stem}.sh has it, which says where",
        f"each value is from.  {_WRITTEN}.",
        *_usage(path),
        f"The settings are those of {one.method.model}; for a model other than",
        f"{one.method.nearest} add what this prints:",
        "  python -m rxf.lab.recipes.architecture --hydra model.pt",
    ]
    steps = one.processes * one.update_freq
    if steps > 1:
        lines += [
            f"One process makes the batch in {steps} steps; for N of them",
            "give distributed_training.distributed_world_size=N, and optimization.update_freq / N.",
        ]
    return lines


def _summarization_header(script: Printed, path: Path) -> list[str]:
    return [
        f"{script.method}, as examples/summarization/{script.script}.sh has it, which says where",
        f"each value is from.  {_WRITTEN}.",
        *_usage(path),
    ]


def _xnli_header(script: Printed, path: Path) -> list[str]:
    return [
        f"{script.method}, as examples/xnli/xnli.sh has it, which says where",
        f"each value is from.  {_WRITTEN}.",
        *_usage(path),
        "For a model other than XLM-R large add what this prints:",
        "  python -m rxf.lab.recipes.architecture --hydra model.pt",
        "One process makes the batch in 4 steps; for N of them",
        "give distributed_training.distributed_world_size=N, and optimization.update_freq / N.",
    ]


def _usage(path: Path) -> list[str]:
    return [
        f'  fairseq-hydra-train --config-dir "$PWD/{path.parent.as_posix()}" \\',
        f'    --config-name {path.stem} common.user_dir="$(rxf path)" task.data=/DATA \\',
        "    checkpoint.finetune_from_model=/model.pt checkpoint.save_dir=/CHECKPOINTS",
        "with absolute paths.",
    ]


def _filled_in(text: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise UserError(f"{README}: needs {BEGIN} and after it {END}")
    return f"{before}{BEGIN}\n\n{table.markdown()}\n{END}{after}"
