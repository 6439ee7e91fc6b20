"""`rxf generate`: the same as fairseq-generate in the data's order, and one line for bad input."""

import importlib.metadata
import json
import math
import random
import re
import shutil
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.data import Dictionary
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from rxf import cli
from rxf.errors import UserError
from rxf.lab.generate.search import Detokenizer
from tests.lab.translation_data import WORDS, train, write_side, write_splits
from tests.support import REPO, fork_fairseq_train, load_checkpoint, run_fairseq_train

SEARCH = ["--beam", "3", "--max-len-b", "14", "--min-len", "5", "--batch-size", "4"]
QUICK = [*SEARCH, "--num-workers", "0"]
ROWS = 13


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For reading only."""
    return write_splits(tmp_path_factory.mktemp("data") / "words", ROWS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return train(data, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return train(data, tmp_path_factory.mktemp("bart"), arch="bart_base")


def generate(*words: object) -> int:
    return cli.main(["generate", *map(str, words)])


def error_of(*words: object) -> str:
    with pytest.raises(UserError) as caught:
        generate(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines_of(out: Path) -> list[str]:
    return (out / "hypotheses.txt").read_text(encoding="utf-8").splitlines()


def manifest_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "generate.json").read_text(encoding="utf-8"))


def fairseq_lines(model: Path, data: Path, *flags: str, run: Any = fork_fairseq_train) -> list[str]:
    """What fairseq-generate prints as detokenised hypotheses, in the data's order."""
    if run is fork_fairseq_train:
        flags = ("--user-dir", str(REPO / "rxf"), *flags)
    done = run(data, "--path", model, *flags, command="fairseq-generate")
    found = re.findall(r"^D-(\d+)\t[^\t]*\t(.*)$", done.stdout, re.MULTILINE)
    assert found, done.stdout[-2000:]
    return [text for _, text in sorted((int(number), text) for number, text in found)]


# ---- what is generated ----


def test_equals_fairseq_generate_line_by_line(model: Path, data: Path, tmp_path: Path) -> None:
    assert generate(model, data, tmp_path / "out", *QUICK) == 0
    lines = lines_of(tmp_path / "out")
    assert lines == fairseq_lines(model, data, *SEARCH)
    # The data is not sorted by length, and no two rows of it are all alike.
    assert len(lines) == ROWS and len(set(lines)) > 3
    generate(model, data, tmp_path / "other", *QUICK, "--lenpen", "9", "--split", "valid")
    assert lines_of(tmp_path / "other") != lines


def test_repeated_ngrams_are_blocked(model: Path, data: Path, tmp_path: Path) -> None:
    def repeats(line: str) -> bool:
        words = line.split()
        pairs = list(zip(words, words[1:], strict=False))
        return len(set(pairs)) < len(pairs)

    long = ["--min-len", "12", "--max-len-b", "14", "--num-workers", "0"]
    generate(model, data, tmp_path / "free", *long)
    assert any(map(repeats, lines_of(tmp_path / "free")))
    generate(model, data, tmp_path / "blocked", *long, "--no-repeat-ngram-size", "2")
    assert not any(map(repeats, lines_of(tmp_path / "blocked")))


def test_manifest(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(model, data, out, "--seed", "3", *QUICK)
    manifest = manifest_of(out)
    assert manifest["command"] == f"rxf generate {model} {data} {out} --seed 3 {' '.join(QUICK)}"
    assert manifest["inputs"]["flags"] == ["--seed", "3", *QUICK]
    assert len(manifest["inputs"]["checkpoint"][0]) == 64
    assert manifest["sentences"] == ROWS and manifest["skipped"] == []
    rate = manifest["sentences"] / manifest["seconds"]
    assert math.isclose(manifest["sentences_per_second"], rate, rel_tol=0.02)
    assert manifest["total_seconds"] >= manifest["seconds"] > 0
    assert sorted(path.name for path in out.iterdir()) == ["generate.json", "hypotheses.txt"]


def test_progress_and_sampling(
    model: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: Any
) -> None:
    import tqdm

    shown: list[dict[str, Any]] = []

    class Bar(tqdm.tqdm):
        def __exit__(self, *error: Any) -> None:
            shown.append(self.format_dict)
            super().__exit__(*error)

    monkeypatch.setattr("rxf.lab.generate.search.tqdm", Bar)
    sampled = ["--sampling", "--sampling-topk", "5", *QUICK]
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        generate(model, data, tmp_path / name, *sampled, "--seed", seed)
    assert [(bar["n"], bar["total"], bar["unit"]) for bar in shown] == [(13, 13, "sentences")] * 3
    lines = {name: lines_of(tmp_path / name) for name in "abc"}
    assert lines["a"] == lines["b"] != lines["c"]
    printed = capfd.readouterr()
    assert "sentences/s" in printed.out and "| 13/13 [" in printed.err
    error_of(model, data, tmp_path / "wrong", *QUICK, "--min-len", "15")
    assert "generate:" not in capfd.readouterr().err


def test_several_checkpoints_are_an_ensemble(model: Path, data: Path, tmp_path: Path) -> None:
    second = train(data, tmp_path / "second", "--seed", "7")
    lines = {}
    for name, path in (("one", model), ("two", second), ("both", f"{model}:{second}")):
        generate(path, data, tmp_path / name, *QUICK)
        lines[name] = lines_of(tmp_path / name)
    assert lines["both"] not in (lines["one"], lines["two"])
    assert lines["both"] == fairseq_lines(f"{model}:{second}", data, *SEARCH)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "criterion",
    [
        pytest.param("label_smoothed_cross_entropy", marks=pytest.mark.slow),
        "label_smoothed_cross_entropy_r3f",
    ],
)
def test_fairseqs_own_command_generates_the_same(
    criterion: str, data: Path, tmp_path: Path
) -> None:
    if criterion not in CRITERION_REGISTRY:
        pytest.skip(f"{criterion} is not registered")
    path = train(data, tmp_path, "--criterion", criterion)
    generate(path, data, tmp_path / "out", *QUICK)
    # In processes of their own: without --user-dir none of rxf is imported.
    plugin = ["--user-dir", str(REPO / "rxf")]
    # A stock fairseq fails on its own: "Mask Type should be defined" with torch 2.
    mended = "+rxf" in importlib.metadata.version("fairseq")
    for user_dir in [[], plugin] if mended else [plugin]:
        flags = [*SEARCH, *user_dir]
        assert lines_of(tmp_path / "out") == fairseq_lines(
            path, data, *flags, run=run_fairseq_train
        )


# ---- lengths ----


@pytest.fixture
def long_data(data: Path, tmp_path: Path) -> Path:
    """Three of its test sources are longer than the 12 positions of training, one target too."""
    folder = shutil.copytree(data, tmp_path / "long")
    dictionary = Dictionary.load(str(folder / "dict.source.txt"))
    write_side(folder, "test", "source", dictionary, [3, 20, 5, 30, 1, 12])
    write_side(folder, "test", "target", dictionary, [3, 3, 40, 3, 3, 3])
    return folder


def test_skipped_examples_shift_no_line(
    model: Path, long_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    message = error_of(model, long_data, tmp_path / "out", *QUICK)
    assert "3 sources of --split test are longer than the 12 tokens" in message
    assert "line 2: give --truncate-source" in message and "--skip-invalid" in message
    assert not (tmp_path / "out").exists()

    skip = "--skip-invalid-size-inputs-valid-test"
    generate(model, long_data, tmp_path / "out", *QUICK, skip)
    lines = lines_of(tmp_path / "out")
    assert [bool(line) for line in lines] == [True, False, True, False, True, False]
    assert manifest_of(tmp_path / "out")["skipped"] == [1, 3, 5]
    assert manifest_of(tmp_path / "out")["sentences"] == 3
    assert "3 of 6 sources are too long and were skipped" in caplog.text

    generate(model, long_data, tmp_path / "cut", *QUICK, "--truncate-source")
    cut = lines_of(tmp_path / "cut")
    assert all(cut) and [cut[0], cut[2], cut[4]] == [lines[0], lines[2], lines[4]]


def test_settings_of_the_training_are_the_default(
    data: Path, long_data: Path, tmp_path: Path
) -> None:
    path = train(data, tmp_path / "model", "--truncate-source", "--left-pad-source")
    generate(path, long_data, tmp_path / "out", *QUICK)
    settings = manifest_of(tmp_path / "out")["task_settings"]
    # fairseq's --left-pad-source switches its default off.
    wanted = {"task": "translation", "truncate_source": True, "left_pad_source": False}
    assert settings.items() >= {**wanted, "max_source_positions": 12}.items()
    same = ["--truncate-source", "--left-pad-source", "--max-source-positions", "12"]
    # Ours does not mind a reference that is too long, fairseq's does.
    dictionary = Dictionary.load(str(long_data / "dict.target.txt"))
    write_side(long_data, "test", "target", dictionary, [3] * 6)
    assert lines_of(tmp_path / "out") == fairseq_lines(path, long_data, *SEARCH, *same)
    generate(path, long_data, tmp_path / "six", *QUICK, "--max-source-positions", "6")
    assert manifest_of(tmp_path / "six")["task_settings"]["max_source_positions"] == 6


# ---- text ----


def write_bpe(folder: Path) -> None:
    """A GPT-2 BPE without merges: the number of a byte is the byte."""
    folder.mkdir(parents=True)
    numbers = {symbol: byte for byte, symbol in bytes_to_unicode().items()}
    (folder / "encoder.json").write_text(json.dumps(numbers))
    (folder / "vocab.bpe").write_text("#version: 0.2\n")


def test_bpe_files_in_data_are_the_default(tmp_path: Path) -> None:
    letters = [str(byte) for byte in b"abcdefgh \n"]
    folder = write_splits(tmp_path / "data", ROWS, letters)
    path = train(folder, tmp_path / "model")
    generate(path, folder, tmp_path / "numbers", *QUICK)
    write_bpe(folder / "bpe")
    generate(path, folder, tmp_path / "letters", *QUICK)
    write_bpe(tmp_path / "elsewhere")
    shutil.rmtree(folder / "bpe")
    generate(path, folder, tmp_path / "flag", *QUICK, "--bpe-dir", tmp_path / "elsewhere")
    numbers = lines_of(tmp_path / "numbers")
    texts = ["".join(chr(int(number)) for number in line.split()) for line in numbers]
    wanted = [" ".join(text.splitlines()).strip() for text in texts]
    assert lines_of(tmp_path / "letters") == lines_of(tmp_path / "flag") == wanted
    assert len(wanted) == ROWS and wanted != numbers
    message = error_of(path, folder, tmp_path / "x", "--bpe-dir", tmp_path / "none")
    assert f"{tmp_path / 'none' / 'encoder.json'}: there is no such file" in message
    message = error_of(path, folder, tmp_path / "x", "--bpe-dir", "d", "--bpe", "characters")
    assert "--bpe-dir is for GPT-2 BPE" in message
    message = error_of(path, folder, tmp_path / "x", "--bpe", "gpt2")
    assert "has no bpe/encoder.json: give --bpe-dir DIR" in message


def test_bpe_of_other_data(model: Path, data: Path, tmp_path: Path) -> None:
    write_bpe(tmp_path / "bpe")
    message = error_of(model, data, tmp_path / "out", "--bpe-dir", tmp_path / "bpe")
    assert "reads 0 of the target dictionary's first 20 words and not 'w00'" in message


def test_remove_bpe(tmp_path: Path) -> None:
    folder = write_splits(tmp_path / "data", ROWS, [f"a{n}@@" for n in range(9)] + ["b"])
    path = train(folder, tmp_path / "model")
    generate(path, folder, tmp_path / "raw", *QUICK)
    generate(path, folder, tmp_path / "joined", *QUICK, "--remove-bpe")
    raw = lines_of(tmp_path / "raw")
    assert any("@@ " in line for line in raw)
    joined = [(line + " ").replace("@@ ", "").strip() for line in raw]
    assert lines_of(tmp_path / "joined") == joined


def test_detokenizer(tmp_path: Path) -> None:
    class Task:
        target_dictionary = Dictionary()

        def build_bpe(self, settings: Any) -> Any:
            from fairseq.data import encoders

            write_bpe(tmp_path / "bpe")
            files = {"gpt2_encoder_json": "encoder.json", "gpt2_vocab_bpe": "vocab.bpe"}
            paths = {key: str(tmp_path / "bpe" / name) for key, name in files.items()}
            return encoders.build_bpe(Namespace(bpe="gpt2", **paths))

        def build_tokenizer(self, settings: Any) -> None:
            return None

    task = Task()
    cfg = Namespace(bpe=None, tokenizer=None, common_eval=Namespace(post_process=None))
    detokenize = Detokenizer(cfg, task, {2})

    def text(*words: str) -> str:
        numbers = [task.target_dictionary.add_symbol(word) for word in words]
        return detokenize(torch.tensor([0, *numbers, 2]))

    spelt = [str(byte) for byte in " é\r\nx\u2028y ".encode()]
    assert text(*spelt) == "é x y"
    assert detokenize.undecodable == 0
    assert text("97", "madeupword0000", "98", "<mask>") == "ab<mask>"
    assert detokenize.undecodable == 1
    assert text("97", "70000") == "a"


# ---- a second call ----


def test_second_call_does_nothing(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    generate(model, data, out, *QUICK)
    first = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    assert generate(model, data, out, *QUICK) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == first
    (out / "rouge.json").write_text("{}")
    generate(model, data, out, *QUICK, "--overwrite")
    assert (out / "generate.json").stat().st_mtime_ns > first["generate.json"]
    assert (out / "rouge.json").exists()


def test_out_of_something_else(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    generate(model, data, out, *QUICK)
    lines = lines_of(out)
    assert "(flags): give another OUT" in error_of(model, data, out, *QUICK, "--unkpen", "1")
    assert "test.source-target" in error_of(model, data, out, *QUICK, "--split", "valid")
    (out / "hypotheses.txt").write_text("mine\n")
    assert "was changed or is gone: give --overwrite" in error_of(model, data, out, *QUICK)
    generate(model, data, out, *QUICK, "--overwrite")
    assert lines_of(out) == lines
    for flags in ([], ["--overwrite"]):
        message = error_of(model, data, model.parent, *QUICK, *flags)
        assert f"OUT {model.parent} holds checkpoint_last.pt" in message
    assert "is a file" in error_of(model, data, model, *QUICK)
    # What a killed run left behind is no hindrance.
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".hypotheses.txt.123").write_text("half")
    generate(model, data, tmp_path / "killed", *QUICK)
    assert lines_of(tmp_path / "killed") == lines


def test_out_that_cannot_be_written(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = error_of(model, data, tmp_path / "file" / "out", *QUICK)
    assert "cannot be written (Not a directory)" in message


def test_nothing_is_left_where_generation_fails(model: Path, data: Path, tmp_path: Path) -> None:
    generate(model, data, tmp_path / "out", *QUICK)
    before = manifest_of(tmp_path / "out")
    for out, flags in ((tmp_path / "new", []), (tmp_path / "out", ["--overwrite"])):
        message = error_of(model, data, out, *QUICK, *flags, "--min-len", "15")
        assert "--min-len 15 is more than" in message
    assert not (tmp_path / "new").exists()
    assert manifest_of(tmp_path / "out") == before


# ---- bad input ----


def test_checkpoint_that_does_not_load(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    none = tmp_path / "none.pt"
    assert f"CHECKPOINT {none}: does not exist" in error_of(none, data, out)
    assert "does not exist or is no file" in error_of(tmp_path, data, out)
    half = tmp_path / "half.pt"
    half.write_bytes(model.read_bytes()[:5000])
    message = error_of(half, data, out)
    assert f"checkpoint {half} cannot be read" in message and "truncated" in message
    torch.save({"weights": torch.zeros(2)}, half)
    assert str(half) in error_of(half, data, out)
    assert not out.exists()


def test_checkpoint_that_cannot_generate(pretrained: Path, data: Path, tmp_path: Path) -> None:
    message = error_of(pretrained, data, tmp_path / "out")
    assert f"CHECKPOINT {pretrained}: is a roberta, which has no decoder" in message


def test_weights_that_do_not_fit(model: Path, data: Path, tmp_path: Path) -> None:
    state = load_checkpoint(model)
    del state["model"]["decoder.layers.0.fc1.weight"]
    torch.save(state, tmp_path / "odd.pt")
    message = error_of(tmp_path / "odd.pt", data, tmp_path / "out", *QUICK)
    assert "does not fit its model" in message and "decoder.layers.0.fc1.weight" in message


def _with_rows(checkpoint: Path, path: Path, more: int) -> Path:
    """A copy whose embeddings have ``more`` rows than the dictionary, such that they matter."""
    state = load_checkpoint(checkpoint)
    for key, weight in state["model"].items():
        if "embed_tokens" in key or "output_projection" in key:
            extra = torch.full((more, weight.shape[1]), 3.0)
            state["model"][key] = torch.cat([weight, extra])
    torch.save(state, path)
    return path


def test_dictionary_of_another_training(model: Path, data: Path, tmp_path: Path) -> None:
    other = write_splits(tmp_path / "other", ROWS, WORDS[:-3])
    message = error_of(model, other, tmp_path / "out", *QUICK)
    assert f"{other}/dict.source.txt makes 21 types and the encoder of {model} has 24" in message
    assert "another dictionary" in message
    # A target dictionary alone that is wrong is seen as well.
    mixed = shutil.copytree(data, tmp_path / "mixed")
    shutil.copy(other / "dict.target.txt", mixed)
    assert f"{mixed}/dict.target.txt makes 21" in error_of(model, mixed, tmp_path / "out", *QUICK)


def test_mask_row_of_bart(
    bart: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generate(bart, data, tmp_path / "tuned", *QUICK)
    assert "<mask>" not in caplog.text
    raw = _with_rows(bart, tmp_path / "raw.pt", more=1)
    generate(raw, data, tmp_path / "raw", *QUICK)
    assert "has 25: the last one is taken for <mask> and left out" in caplog.text
    assert lines_of(tmp_path / "raw") == lines_of(tmp_path / "tuned")
    two = _with_rows(bart, tmp_path / "two.pt", more=2)
    assert "makes 24 types" in error_of(two, data, tmp_path / "out", *QUICK)
    masked = write_splits(tmp_path / "masked", ROWS, [*WORDS, "<mask>"])
    message = error_of(bart, masked, tmp_path / "out", *QUICK)
    assert "makes 25 types" in message and "fine-tuned without <mask>" in message


def test_published_bart(bart: Path, data: Path, tmp_path: Path) -> None:
    """Such a file has flat arguments, another task, and the row of <mask>."""
    state = load_checkpoint(_with_rows(bart, tmp_path / "raw.pt", more=1))
    settings = dict(vars(state["cfg"]["model"]))
    settings.update(arch="bart_base", task="denoising", criterion="cross_entropy", mask=0.3)
    history = {"optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 4}
    published = {
        "args": Namespace(**settings),
        "model": state["model"],
        "optimizer_history": [{"criterion_name": "CrossEntropyCriterion", **history}],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
        "last_optimizer_state": None,
    }
    torch.save(published, tmp_path / "model.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        generate(tmp_path / "model.pt", data, tmp_path / "out", *QUICK)
    assert manifest_of(tmp_path / "out")["task_settings"] == {}
    generate(bart, data, tmp_path / "tuned", *QUICK)
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "tuned")


def test_an_extra_row_is_no_mask_elsewhere(model: Path, data: Path, tmp_path: Path) -> None:
    one = _with_rows(model, tmp_path / "one.pt", more=1)
    assert "another dictionary" in error_of(one, data, tmp_path / "out", *QUICK)


def test_data_that_is_not_whole(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "is no folder" in error_of(model, tmp_path / "none", out)
    (tmp_path / "empty").mkdir()
    assert "holds no SPLIT.SOURCE-TARGET" in error_of(model, tmp_path / "empty", out)
    message = error_of(model, data, out, "--split", "tset")
    assert "--split tset" in message and "it has test, train, valid" in message
    message = error_of(model, data, out, "--target-lang", "fr", "--source-lang", "source")
    assert f"{data / 'dict.fr.txt'}: there is no such file" in message
    broken = shutil.copytree(data, tmp_path / "broken")
    (broken / "dict.target.txt").unlink()
    assert f"{broken / 'dict.target.txt'}: there is no such file" in error_of(model, broken, out)
    (broken / "dict.target.txt").write_text("no counts\n")
    assert f"DATA {broken}: cannot be set up" in error_of(model, broken, out)
    assert not out.exists()


@pytest.mark.parametrize("suffix, size", [("idx", 5), ("idx", 60), ("bin", 7)])
def test_truncated_data(suffix: str, size: int, model: Path, data: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(data, tmp_path / "broken")
    file = broken / f"test.source-target.source.{suffix}"
    file.write_bytes(file.read_bytes()[:size])
    message = error_of(model, broken, tmp_path / "out", *QUICK)
    assert f"DATA {broken}: split test cannot be read" in message


def test_empty_split(model: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data, tmp_path / "empty")
    dictionary = Dictionary.load(str(folder / "dict.source.txt"))
    for side in ("source", "target"):
        write_side(folder, "test", side, dictionary, [])
    assert "split test" in error_of(model, folder, tmp_path / "out", *QUICK)


def test_no_target_side(model: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(data, tmp_path / "source-only")
    for file in folder.glob("test.source-target.target.*"):
        file.unlink()
    generate(model, folder, tmp_path / "out", *QUICK)
    assert len(lines_of(tmp_path / "out")) == ROWS
    message = error_of(model, folder, tmp_path / "out2", *QUICK, "--prefix-size", "1")
    assert "--prefix-size 1: DATA has no target side" in message


def test_prefix(model: Path, data: Path, tmp_path: Path) -> None:
    generate(model, data, tmp_path / "out", *QUICK, "--prefix-size", "1")
    assert lines_of(tmp_path / "out") == fairseq_lines(model, data, *SEARCH, "--prefix-size", "1")


@pytest.mark.parametrize(
    "flags, parts",
    [
        (["--bream", "4"], ["--bream is no flag", "did you mean --beam?"]),
        (["--xyzzy=4"], ["--xyzzy is no flag", "rxf generate --help"]),
        (["--beam", "four"], ["argument --beam: invalid int value: 'four'"]),
        (["--beam"], ["argument --beam: expected one argument"]),
        (["extra"], ["'extra' belongs to no flag"]),
        (["--task", "none"], ["argument --task: invalid choice: 'none'"]),
        (["--path", "x"], ["--path does not go with rxf generate: CHECKPOINT"]),
        (["--results-path", "x"], ["--results-path", "OUT"]),
        (["--score-reference"], ["--score-reference", "instead of generating"]),
        (["--no-repeat-ngram-size", "1"], ["--no-repeat-ngram-size 1", "give 2 or more"]),
        (["--fp16", "--cpu"], ["--fp16 is for CUDA", "leave it out"]),
        (["--bf16"], ["--bf16", "fp32"]),
        (["--sampling-topk", "3"], ["--sampling-topk requires --sampling"]),
        (["--sampling", "--diverse-beam-groups", "2"], ["mutually exclusive"]),
        (["--max-tokens", "3"], ["--max-tokens 3"]),
        (["--model-overrides", "{"], ["--model-overrides {", "no Python dictionary"]),
        (
            ["--bpe", "gpt2", "--gpt2-encoder-json", "/none", "--gpt2-vocab-bpe", "/none"],
            ["--bpe: cannot be set up", "/none"],
        ),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("-") else "",
)
def test_bad_flag(
    flags: list[str], parts: list[str], model: Path, data: Path, tmp_path: Path
) -> None:
    message = error_of(model, data, tmp_path / "out", *flags)
    for part in parts:
        assert part in message
    assert not (tmp_path / "out").exists()


def test_fp16_without_cuda(model: Path, data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--fp16 is for CUDA" in error_of(model, data, tmp_path / "out", "--fp16")


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--beam", "4", "a", "b", "c"]])
def test_folders_stand_first(words: list[str]) -> None:
    assert "CHECKPOINT DATA OUT first" in error_of(*words)


def test_help(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        generate("--help")
    text = capsys.readouterr().out
    assert "usage: rxf generate CHECKPOINT DATA OUT [flags]" in text and "--bpe-dir" in text


def test_after_rxf_prepare(shared_data: Path, tmp_path: Path) -> None:
    """From text to text, through GPT-2 BPE."""
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "home"]
    source = random.Random(1)
    (tmp_path / "texts").mkdir()
    for split in ("train", "dev", "test"):
        for side in ("source", "target"):
            rows = [" ".join(source.choices(words, k=5)) for _ in range(9)]
            (tmp_path / "texts" / f"{split}.{side}").write_text("\n".join(rows) + "\n")
    data = tmp_path / "data"
    prepare = ["prepare", "summarization", tmp_path / "texts", data, "--min-count", "1"]
    cli.main([*map(str, prepare), "--bpe-dir", str(shared_data / "gpt2_bpe")])
    path = train(data, tmp_path / "model", "--max-update", "30")
    generate(path, data, tmp_path / "out", *QUICK)
    lines = lines_of(tmp_path / "out")
    assert len(lines) == 9
    # Pieces of the words above, as text and not as numbers.
    assert all(re.fullmatch(r"[a-z ]+", line) for line in lines)
