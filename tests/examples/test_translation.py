"""The translation recipe: every printed flag is one that its command knows, and it runs."""

import json
import random
from pathlib import Path

import pytest

from tests.examples.test_summarization import (
    check_generate_flags,
    error_of,
    parsed_rxf,
    parsed_training,
    printed,
    recipe,
)

TRAIN = "../translation/train"


def write_text(folder: Path) -> Path:
    """The same words spelt in another alphabet, in the same order."""
    source = random.Random(1)
    words = ["".join(source.choices("abcdefgh", k=source.randint(2, 4))) for _ in range(12)]
    folder.mkdir()
    for split, rows in {"train": 1500, "valid": 20, "test": 40}.items():
        lines = [" ".join(source.choices(words, k=source.randint(1, 5))) for _ in range(rows)]
        (folder / f"{split}.xx").write_text("".join(line + "\n" for line in lines))
        upper = "".join(line.upper() + "\n" for line in lines)
        (folder / f"{split}.yy").write_text(upper)
    return folder


def test_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = printed(TRAIN, "text", "work", "de", "en", "--lr", "1e-4")
    pieces, binarise, training, generate, bleu = commands
    from fairseq import options

    args = options.get_preprocessing_parser().parse_args(binarise[1:])
    assert (args.source_lang, args.target_lang, args.destdir) == ("de", "en", "work/data")
    assert args.srcdict == args.tgtdict == "work/pieces/dict.txt"
    assert pieces[2:6] == ["text", "work/pieces", "de", "en"]
    train = parsed_training(training)
    assert (train.data, train.lr) == ("work/data", [1e-4])
    assert train.criterion == "label_smoothed_cross_entropy_r3f"
    args = parsed_rxf(generate, monkeypatch)
    assert check_generate_flags(args).beam == 5
    assert str(args.checkpoint) == f"{train.save_dir}/checkpoint_best.pt"
    args = parsed_rxf(bleu, monkeypatch)
    assert (str(args.reference), str(args.json)) == ("text/test.en", "work/bleu.json")


def test_one_line_where_input_is_missing(tmp_path: Path) -> None:
    done = recipe(TRAIN, tmp_path, tmp_path / "work", check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    message = error_of(TRAIN, tmp_path, tmp_path / "work", "de", "en")
    assert message == f"train.sh: error: TEXT: there is no file {tmp_path}/train.de"


def test_sides_of_different_length(tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    with (text / "valid.yy").open("a") as file:
        file.write("ONE MORE\n")
    message = error_of(TRAIN, text, tmp_path / "work", "xx", "yy", env={"VOCABULARY": "60"})
    assert message == f"pieces.py: error: {text}/valid: 20 lines of xx and 21 of yy"


@pytest.mark.slow
def test_from_text_to_bleu(tmp_path: Path) -> None:
    text, work = write_text(tmp_path / "text"), tmp_path / "new" / "work"
    tiny = ["--encoder-layers", 1, "--decoder-layers", 1, "--encoder-ffn-embed-dim", 64]
    tiny += ["--decoder-ffn-embed-dim", 64, "--encoder-embed-dim", 32, "--decoder-embed-dim", 32]
    tiny += ["--dropout", 0, "--cpu", "--num-workers", 0, "--lr", 5e-3, "--warmup-updates", 20]
    call = (TRAIN, text, work, "xx", "yy", *tiny, "--max-tokens", 400, "--max-update", 500)
    env = {"VOCABULARY": "60"}
    recipe(*call, "--log-interval", 100, env=env)
    report = json.loads((work / "bleu.json").read_text())
    # Words, as people write them, and not pieces.
    assert "\u2581" not in (work / "test" / "hypotheses.txt").read_text()
    assert report["scores"]["BLEU"]["score"] > 50

    again = recipe(*call, "--log-interval", 100, env=env)
    assert again.stdout.count("done before with the same command") == 5
    (work / ".done" / "binarise").unlink()
    assert recipe(*call, "--log-interval", 100, env=env).stdout.count("done before") == 1
