"""Every shell command of every page is one that its program understands."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docs.markdown import code_blocks, code_spans
from tests.docs.checker import named, problem
from tests.docs.pages import PAGES, text
from tests.docs.shell import commands
from tests.support import REPO

FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*[a-z0-9]")
# Flags of a kind end in a dash or a star: `--report-*`.
KIND = re.compile(r"--[a-z][\w-]*-\*")
PATH = re.compile(r"^(rxf|docs|tests|scripts|examples|benchmarks)/[\w./-]+$")
# Flags of others' programs that pages speak of.
FOREIGN = {
    *("--adv-steps", "--adv-begin-iter", "--grad-square", "--reg-weight"),  # released FreeLB
    *("--nproc-per-node", "--standalone"),  # torchrun
}
# A folder of fairseq's, and what a reader is to name.
OTHERS = {"examples/rxf", "rxf/methods/NAME/__init__.py", "tests/methods/NAME"}


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str) -> None:
    found = commands(text(page))
    wrong = [
        f"{page}, block at line {command.line}: {' '.join(command.words)}\n    {said}"
        for command in found
        if (said := problem(command))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_pages_hold_commands() -> None:
    """What the test above goes over is there: it finds them in the README, cards and examples."""
    for page, least in (("README.md", 5), ("docs/recipes.md", 10), ("rxf/lab/probe/README.md", 4)):
        assert len(commands(text(page))) >= least, page
    surt = commands(text("rxf/methods/surt/README.md"))
    assert [command.words[0] for command in surt] == ["rxf", "examples/glue/surt.sh"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rxff doctor", "no command"),
        ("rxf docter", "no such subcommand"),
        ("rxf prepare glu DIR RTE OUT", "invalid choice"),
        ("rxf prepare glue DIR RTE OUT --bpe DIR --bqe-dir X", "unrecognized arguments"),
        ("rxf sweep OUT --tasks A --pretrained F --sedes 1-3", "unrecognized arguments"),
        ("rxf sweep OUT --tasks A --pretrained F --methods r5f", "r5f"),
        ("rxf sweep OUT --tasks A --pretrained F --set r3f.r3f_lamda=1", "r3f_lamda"),
        ("rxf sweep OUT optimization.max_updates=3 --tasks A --pretrained F", "max_updates"),
        ("rxf probe retention --pretrained F --tasks A B --cycle-s 3 --out O", "cycle-s"),
        ("rxf probe degradation --pretrained F --source A --chain B --out O -- --fp61", "--fp61"),
        ("rxf generate C DATA OUT --beem 4", "--beem"),
        ("fairseq-train DATA --criterion sentence_prediction_r3f --r3f-lamda 1", "--r3f-lamda"),
        ("fairseq-train DATA --criterion sentence_prediction_r5f", "sentence_prediction_r5f"),
        ("fairseq-train DATA --criterion sentence_prediction_r3f --noise-type cube", "cube"),
        ("torchrun --nprocs_per_node 2 fairseq-train DATA", "nprocs_per_node"),
        ("torchrun --nproc_per_node 2 fairseq-train DATA --updatefreq 2", "--updatefreq"),
        ("scripts/quikstart.sh", "no such script"),
        ("scripts/quickstart.sh --seedz 3", "--seedz"),
        ("scripts/setup.sh --pyton python3", "--pyton"),
        ("scripts/test.sh tests/method", "tests/method"),
        ("examples/glue/family_data.sh DATA", "wants 2 arguments"),
        ("examples/summarization/cnn_dm.sh RAW WORK", "BART"),
        ("BART=b.pt examples/summarization/cnn_dm.sh RAW", "usage"),
        ("examples/probing/probing_data.sh --smoke WORK", "has no --smoke"),
        ("BART=b.pt GPUS=3 examples/summarization/cnn_dm.sh RAW WORK", "3 processes"),
        ("BART=b.pt examples/summarization/cnn_dm.sh RAW WORK --r3f-lamda 0", "--r3f-lamda"),
        ("python -m benchmarks.optimiser_step", "no such module"),
        ("python -m benchmarks.optimizer_step --jsn F", "--jsn"),
        ("python examples/glue/family_tables.py OUT", "no such file"),
        ("pip install 'rxf[sweeps]'", "no extra sweeps"),
        ("for seed in 1 2; do rxf docter $seed; done", "no such subcommand"),
        ('fairseq-train DATA --user-dir "$(rxf paht)"', "no such subcommand"),
    ],
)
def test_a_typo_is_seen(line: str, said: str) -> None:
    found = [problem(command) for command in commands(f"```bash\n{line}\n```\n")]
    told = [each for each in found if each]
    assert told, f"{line}: passes as understood"
    assert any(said in each for each in told), told


def test_a_command_goes_over_several_lines_and_keeps_what_was_set() -> None:
    block = "export A=1\nfor s in x y; do\n  B=$A rxf report \\\n    $s ${OUT} > log # c\ndone"
    page = f"```bash\n{block}\n```\n"
    (only,) = commands(page)
    assert only.words == ["rxf", "report", "x", "OUT"] and only.env["B"] == "$A"
    assert only.env["A"] == "1"


# ------------------------------------------------------------------ words within text


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page: str) -> None:
    wrong = [said for span in code_spans(text(page)) if (said := named(span))]
    assert not wrong, f"{page}: {'; '.join(wrong)}"


@pytest.mark.parametrize(
    "span",
    [
        "rxf docter",
        "rxf prope collapse --out O",
        "python -m benchmarks.metod_step",
        "python -m benchmarks.method_step --rouns 3",
        "pytest tests/lab/test_rogue.py",
        "examples/glue/rtee.sh",
    ],
)
def test_a_wrong_command_in_the_text_is_seen(span: str) -> None:
    assert named(span)


@pytest.mark.parametrize("page", PAGES)
def test_python_and_yaml_can_be_read(page: str) -> None:
    for block in code_blocks(text(page)):
        if block.language == "python":
            compile(block.text, f"{page}:{block.line}", "exec")
        if block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict), f"{page}:{block.line}"


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_the_text_exist(page: str, flags_of_the_code: frozenset[str]) -> None:
    """A flag in backticks is one of fairseq, of rxf, or of a script here."""
    spans = [KIND.sub("", span) for span in code_spans(text(page))]
    named = {flag for span in spans for flag in FLAG.findall(span)}
    unknown = sorted(named - flags_of_the_code - FOREIGN)
    assert not unknown, f"{page} names flags that nothing here knows: {', '.join(unknown)}"


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_the_text_exist(page: str) -> None:
    named = {span for span in code_spans(text(page)) if PATH.match(span)} - OTHERS
    missing = sorted(path for path in named if not (REPO / path).exists())
    assert not missing, f"{page} names paths that are not there: {', '.join(missing)}"


@pytest.fixture(scope="module")
def flags_of_the_code() -> frozenset[str]:
    """Every word that stands as a flag, or as the field of a configuration, in the code."""
    import fairseq
    import fairseq_cli

    found: set[str] = set()
    for module in (fairseq, fairseq_cli):
        found.update(_flags(Path(str(module.__file__)).parent, "*.py"))
    for folder in ("rxf", "examples", "benchmarks"):
        found.update(_flags(REPO / folder, "*.py"))
    for folder in ("examples", "scripts"):
        found.update(_flags(REPO / folder, "*.sh"))
    return frozenset(found)


def _flags(folder: Path, pattern: str) -> Iterator[str]:
    for path in folder.rglob(pattern):
        source = path.read_text(encoding="utf-8")
        yield from re.findall(r"""(?<=["'\s(|])--[a-z][\w-]*""", source)
        if pattern == "*.py":
            fields = re.findall(r"^    (\w+): ", source, flags=re.MULTILINE)
            yield from ("--" + name.replace("_", "-") for name in fields)


def test_a_wrong_flag_in_the_text_is_seen(flags_of_the_code: frozenset[str]) -> None:
    assert {"--r3f-lambda", "--update-freq", "--spectral-norm-scope"} <= flags_of_the_code
    assert not {"--r3f-lamda", "--updatefreq", "--spectral-scope"} & flags_of_the_code


def test_environment_variables_are_documented() -> None:
    """Every RXF_ variable that code reads stands in docs/install.md, and none but these."""
    read = set()
    for path in [*REPO.glob("rxf/**/*.py"), *REPO.glob("scripts/*"), *REPO.glob("tests/**/*.py")]:
        if path.suffix in (".py", ".sh") and "docs" not in path.parts:
            code = path.read_text(encoding="utf-8")
            read |= set(re.findall(r"(?:environ[^\n]*[\"']|SWITCH = \"|\$\{)(RXF_[A-Z_]+)", code))
    told = set(re.findall(r"^\| `(RXF_[A-Z_]+)`", text("docs/install.md"), flags=re.MULTILINE))
    own = {"RXF_FAULT", "RXF_SWEEP_PARENT", "RXF_TEST_FOLDER", "RXF_TEST_SEED"}
    assert told <= read, f"told of, but not read: {sorted(told - read)}"
    assert read - own <= told, f"not in docs/install.md: {sorted(read - own - told)}"
