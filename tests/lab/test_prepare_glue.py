"""`rxf prepare glue`: what it writes, read back with fairseq's own task and tools."""

import json
import shutil

import pytest
from fairseq import options
from fairseq.data.encoders.gpt2_bpe import GPT2BPE, GPT2BPEConfig
from fairseq.tasks.sentence_prediction import SentencePredictionConfig, SentencePredictionTask
from fairseq_cli import preprocess

from rxf import cli
from rxf.lab.prepare.glue_tasks import GLUE_TASKS, GlueTask, find_task
from rxf.lab.prepare.tokens import gpt2_encoder, word_encoder

BOS, EOS = 0, 2


def prepare(glue_dir, task, out, *flags):
    return cli.main(["prepare", "glue", str(glue_dir), task, str(out), *map(str, flags)])


def manifest_of(out):
    return json.loads((out / "prepare.json").read_text())


def load(out, task, split):
    """The split as fairseq-train would load it with the recipe's flags."""
    config = SentencePredictionConfig(
        data=str(out), num_classes=task.num_classes, init_token=BOS, separator_token=EOS,
        no_shuffle=True, regression_target=task.regression, seed=1,
    )  # fmt: skip
    fairseq_task = SentencePredictionTask.setup_task(config)
    return fairseq_task, fairseq_task.load_dataset(split)


def table(glue_dir, task, split):
    """The sentence columns and labels of a tiny file, read in the plainest way."""
    lines = (glue_dir / task.name / task.files[split]).read_text().splitlines()
    headerless = task.headerless and split != "test"
    columns = list(task.headerless) if headerless else lines.pop(0).split("\t")
    rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in lines]
    return [[row[name] for name in task.sentences] for row in rows], [
        row.get(task.label) for row in rows
    ]


@pytest.mark.parametrize("task", GLUE_TASKS.values(), ids=list(GLUE_TASKS))
def test_every_task_and_split_is_read_back_by_fairseq(task, glue_dir, words_file, tmp_path):
    out = tmp_path / "out" / task.name
    assert prepare(glue_dir, task.name, out, "--dict", words_file) == 0
    dictionary = word_encoder(words_file).dictionary
    for split in task.files:
        fairseq_task, dataset = load(out, task, split)
        sentences, labels = table(glue_dir, task, split)
        assert len(dataset) == len(sentences)
        for index, (texts, label) in enumerate(zip(sentences, labels, strict=True)):
            expected = []
            for text in texts:
                numbers = [dictionary.index(word) for word in text.split()]
                assert dictionary.unk() not in numbers
                expected += [EOS if expected else BOS, *numbers, EOS]
            item = dataset[index]
            assert item["net_input.src_tokens"].tolist() == expected
            if label is None:
                assert "target" not in item
            elif task.regression:
                assert float(item["target"][0]) == pytest.approx(float(label) / 5)
            else:
                target = int(item["target"]) + fairseq_task.label_dictionary.nspecial
                assert 0 <= int(item["target"]) < task.num_classes
                assert fairseq_task.label_dictionary[target] == label


def test_the_table_agrees_with_glue():
    assert len(GLUE_TASKS) == 9
    assert {name for name, task in GLUE_TASKS.items() if task.regression} == {"STS-B"}
    classes = {name: task.num_classes for name, task in GLUE_TASKS.items()}
    assert classes == dict.fromkeys(GLUE_TASKS, 2) | {"STS-B": 1, "MNLI": 3}
    for task in GLUE_TASKS.values():
        assert task.rows.keys() == task.files.keys()
    assert "--report-mcc" in GLUE_TASKS["CoLA"].train_flags()
    assert "--regression-target" in GLUE_TASKS["STS-B"].train_flags()


@pytest.mark.parametrize("spelling", ["SST-2", "sst2", "SST_2", "Sst-2"])
def test_usual_spellings(spelling):
    assert find_task(spelling).name == "SST-2"


def test_a_folder_in_another_spelling_is_found(glue_dir, words_file, tmp_path):
    (glue_dir / "STS-B").rename(glue_dir / "stsb")
    assert prepare(glue_dir, "STS-B", tmp_path / "out", "--dict", words_file) == 0


def test_bytes_equal_fairseq_preprocess(glue_dir, words_file, tmp_path):
    out, theirs, task = tmp_path / "out", tmp_path / "theirs", GLUE_TASKS["RTE"]
    prepare(glue_dir, "RTE", out, "--dict", words_file)
    for column, dictionary in (("input0", words_file), ("input1", words_file), ("label", None)):
        for split in ("train", "valid"):
            sentences, labels = table(glue_dir, task, split)
            lines = labels if column == "label" else [row[int(column[-1])] for row in sentences]
            (tmp_path / split).write_text("".join(line + "\n" for line in lines))
        flags = ["--only-source", "--trainpref", str(tmp_path / "train")]
        flags += ["--validpref", str(tmp_path / "valid"), "--destdir", str(theirs / column)]
        flags += ["--srcdict", str(dictionary)] if dictionary else []
        preprocess.main(options.get_preprocessing_parser().parse_args(flags))
        for name in ("dict.txt", "train.bin", "train.idx", "valid.bin", "valid.idx"):
            assert (out / column / name).read_bytes() == (theirs / column / name).read_bytes()


def test_scores_are_those_of_fairseqs_recipe(glue_dir, words_file, tmp_path):
    prepare(glue_dir, "STS-B", tmp_path / "out", "--dict", words_file)
    assert (tmp_path / "out/label/train.label").read_text() == "0.76\n0\n"
    assert (tmp_path / "out/label/valid.label").read_text() == "1\n"


def test_labels_that_no_training_row_has_are_in_the_dictionary(glue_dir, words_file, tmp_path):
    mnli = glue_dir / "MNLI" / "train.tsv"
    mnli.write_text("".join(mnli.read_text().splitlines(keepends=True)[:2]))
    prepare(glue_dir, "MNLI", tmp_path / "out", "--dict", words_file)
    _, dataset = load(tmp_path / "out", GLUE_TASKS["MNLI"], "valid")
    assert 0 <= int(dataset[0]["target"]) < 3


def test_a_missing_test_file_is_no_error(glue_dir, words_file, tmp_path):
    (glue_dir / "RTE" / "test.tsv").unlink()
    prepare(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    assert list(manifest_of(tmp_path / "out")["splits"]) == ["train", "valid"]


def test_bom_and_crlf_change_nothing(glue_dir, words_file, tmp_path):
    prepare(glue_dir, "RTE", tmp_path / "plain", "--dict", words_file)
    for path in (glue_dir / "RTE").iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    prepare(glue_dir, "RTE", tmp_path / "windows", "--dict", words_file)
    sizes = manifest_of(tmp_path / "plain")["files"]
    assert sizes == manifest_of(tmp_path / "windows")["files"]
    for name in sizes:
        assert (tmp_path / "plain" / name).read_bytes() == (
            tmp_path / "windows" / name
        ).read_bytes()


def test_other_line_ends_and_quotes_are_text(glue_dir, words_file, tmp_path):
    odd = 'a "dog\rcat\u2028sat\x85" \'ran'
    (glue_dir / "SST-2" / "dev.tsv").write_text(
        f"sentence\tlabel\n{odd}\t1\n", encoding="utf-8", newline="\n"
    )
    words_file.write_text(words_file.read_text() + '"dog 1\nsat\x85" 1\n', encoding="utf-8")
    prepare(glue_dir, "SST-2", tmp_path / "out", "--dict", words_file)
    assert manifest_of(tmp_path / "out")["splits"]["valid"]["rows"] == 1


def _long_rte(glue_dir, good, broken):
    head, row = (glue_dir / "RTE" / "train.tsv").read_text().splitlines(keepends=True)[:2]
    (glue_dir / "RTE" / "train.tsv").write_text(head + row * good + broken)


def test_a_few_broken_rows_are_dropped_and_named(glue_dir, words_file, tmp_path, capsys):
    _long_rte(glue_dir, 300, "300\ta dog\n301\ta cat\t \tentailment\n302\ta dog\ta\tb\tc\n")
    prepare(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    facts = manifest_of(tmp_path / "out")["splits"]["train"]
    assert (facts["rows"], facts["rows_in_file"], len(facts["dropped"])) == (300, 303, 3)
    shown = capsys.readouterr().out
    train = glue_dir / "RTE" / "train.tsv"
    assert f"{train}:302: 2 tab-separated fields where 4 are due" in shown
    assert f"{train}:303: empty sentence" in shown
    assert f"{train}:304: 5 tab-separated fields where 4 are due" in shown
    assert "WARNING: the official file has 2490" in shown


def test_a_test_set_stays_whole(glue_dir, words_file, tmp_path, capsys):
    with open(glue_dir / "RTE" / "test.tsv", "a") as stream:
        stream.write("1\ta cat\t\n")
    prepare(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    assert manifest_of(tmp_path / "out")["splits"]["test"]["rows"] == 2
    assert "1 rows with an empty sentence kept" in capsys.readouterr().out


def test_long_rows_are_counted_as_fairseq_counts_them(glue_dir, words_file, tmp_path, capsys):
    """One word less than 512 with <s>, the separator and both </s>; then one more."""
    dev = glue_dir / "RTE" / "dev.tsv"
    rows = [f"0\t{'a ' * count}\tthe cat\tentailment\n" for count in (506, 507)]
    dev.write_text("index\tsentence1\tsentence2\tlabel\n" + "".join(rows))
    prepare(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    _, dataset = load(tmp_path / "out", GLUE_TASKS["RTE"], "valid")
    assert dataset.sizes[0].tolist() == [512, 513]
    assert manifest_of(tmp_path / "out")["splits"]["valid"]["longer_than_512"] == 1
    assert "1 rows are longer than 512 tokens" in capsys.readouterr().out


def test_a_task_of_ones_own(glue_dir, words_file, tmp_path):
    """The quickstart's built-in tasks come in by the same door."""
    from rxf.lab.prepare.glue import prepare_task

    task = GlueTask("Own", ("sentence",), "label", ("1", "0"), "accuracy")
    manifest = prepare_task(task, glue_dir / "SST-2", word_encoder(words_file), tmp_path / "out")
    assert manifest["splits"]["train"]["official_rows"] is None
    assert manifest["splits"]["train"]["rows"] == 2


# ---- done once, or not at all ----


def test_a_second_call_does_nothing(glue_dir, words_file, tmp_path, capsys):
    out = tmp_path / "out"
    prepare(glue_dir, "RTE", out, "--dict", words_file)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert prepare(glue_dir, "rte", out, "--dict", words_file) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert not list(tmp_path.glob(".out*"))


def test_overwrite_replaces(glue_dir, words_file, tmp_path):
    out = tmp_path / "out"
    prepare(glue_dir, "RTE", out, "--dict", words_file)
    prepare(glue_dir, "CoLA", out, "--dict", words_file, "--overwrite")
    assert manifest_of(out)["task"] == "CoLA"
    assert not (out / "input1").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_link_to_another_disk_stays_a_link(glue_dir, words_file, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for flags in ([], ["--overwrite"]):
        prepare(glue_dir, "RTE", tmp_path / "out", "--dict", words_file, *flags)
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "disk" / "prepare.json").is_file()


def test_an_interrupted_run_leaves_nothing(glue_dir, words_file, tmp_path, monkeypatch):
    from rxf.lab.prepare import glue

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(glue, "_write_labels", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(glue_dir, "RTE", tmp_path / "out", "--dict", words_file)
    assert not list(tmp_path.glob("*out*"))


# ---- GPT-2 BPE ----


def test_bpe_files_by_folder_one_by_one_and_by_default(glue_dir, tiny_bpe, tmp_path, monkeypatch):
    files = ["--encoder-json", tiny_bpe / "encoder.json", "--vocab-bpe", tiny_bpe / "vocab.bpe"]
    prepare(glue_dir, "RTE", tmp_path / "one", "--bpe-dir", tiny_bpe)
    prepare(glue_dir, "RTE", tmp_path / "two", *files, "--dict", tiny_bpe / "dict.txt")
    shutil.copytree(tiny_bpe, tmp_path / "data" / "gpt2_bpe")
    monkeypatch.setenv("RXF_DATA", str(tmp_path / "data"))
    prepare(glue_dir, "RTE", tmp_path / "three", "--encoder-json", tiny_bpe / "encoder.json",
            "--bpe-dir", tiny_bpe)  # fmt: skip
    prepare(glue_dir, "RTE", tmp_path / "four")
    inputs = [manifest_of(tmp_path / name)["inputs"] for name in ("one", "two", "three", "four")]
    assert inputs[1:] == inputs[:-1]
    assert inputs[0]["tokens"] == "GPT-2 BPE"


def test_bpe_numbers_are_those_of_the_dictionary(tiny_bpe):
    encoder = gpt2_encoder(*(tiny_bpe / name for name in ("encoder.json", "vocab.bpe", "dict.txt")))
    # "dog" is the last of 258 symbols, so the first word after fairseq's four special ones.
    assert encoder.encode("dog") == [4]
    assert encoder.encode("d") == [4 + 257 - (ord("d") - ord("!"))]


def _real_encoder(shared_data):
    folder = shared_data / "gpt2_bpe"
    return gpt2_encoder(*(folder / name for name in ("encoder.json", "vocab.bpe", "dict.txt")))


def test_hello_world_as_roberta_numbers_it(shared_data):
    encoder = _real_encoder(shared_data)
    assert encoder.encode("Hello world!") == [31414, 232, 328]
    assert len(encoder.dictionary) == 50264


@pytest.mark.parametrize("text", ["It's $ 2.5  billion .", "naïve – 日本 🙂", "  x\ty ", "madam"])
def test_bpe_equals_fairseqs_own_way(shared_data, text):
    encoder = _real_encoder(shared_data)
    folder = shared_data / "gpt2_bpe"
    bpe = GPT2BPE(
        GPT2BPEConfig(
            gpt2_encoder_json=str(folder / "encoder.json"),
            gpt2_vocab_bpe=str(folder / "vocab.bpe"),
        )
    )
    expected = encoder.dictionary.encode_line(
        bpe.encode(text), add_if_not_exist=False, append_eos=False
    )
    assert encoder.encode(text) == expected.tolist()


@pytest.mark.parametrize("name", ["RTE", "CoLA"])
def test_official_files_have_the_official_counts(shared_data, tmp_path, name, capsys):
    flags = ("--bpe-dir", shared_data / "gpt2_bpe")
    prepare(shared_data / "glue", name, tmp_path / "out", *flags)
    splits = manifest_of(tmp_path / "out")["splits"]
    task = GLUE_TASKS[name]
    for split in ("train", "valid"):
        assert splits[split]["rows"] == task.rows[split]
        assert not splits[split]["dropped"] and not splits[split]["unknown_tokens"]
        assert len(load(tmp_path / "out", task, split)[1]) == task.rows[split]
    assert "WARNING" not in capsys.readouterr().out


def test_help_of_each_level_names_what_to_give(capsys):
    for arguments, expected in ((["--help"], "glue"), (["glue", "--help"], "DIR TASK OUT")):
        with pytest.raises(SystemExit):
            cli.main(["prepare", *arguments])
        assert expected in capsys.readouterr().out
