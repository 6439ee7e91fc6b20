"""The summarization recipes: every printed flag is one that its command knows, and they run."""

import gzip
import importlib
import json
import random
import shlex
import subprocess
from argparse import Namespace
from pathlib import Path
from typing import Any, Optional

import pytest

from rxf import cli
from tests.lab.recipes.commands import run_script
from tests.support import REPO, assert_bit_equal, fork_fairseq_train, trained_weights

RECIPES = REPO / "examples" / "summarization"
PAPER = ["cnn_dm", "gigaword", "reddit_tifu"]
SMALL = ["aeslc", "scitldr"]
STAGES = ["rxf prepare", "fairseq-train", "rxf generate", "rxf rouge"]
WORDS = [f"w{number:02d}" for number in range(30)]


def recipe(
    name: str, *arguments: object, env: Optional[dict[str, str]] = None, check: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run a recipe with this environment's commands, by default with BART named."""
    variables = {"BART": "bart.pt"} if env is None else env
    done = run_script(f"summarization/{name}", *arguments, **variables)
    assert not check or done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done


def printed(name: str, *arguments: object, env: Optional[dict[str, str]] = None) -> list[list[str]]:
    lines = recipe(name, "--dry-run", *arguments, env=env).stdout.splitlines()
    return [shlex.split(line) for line in lines]


def parsed_training(words: list[str]) -> Namespace:
    """The command line as fairseq-train reads it, with rxf's names known."""
    from fairseq import options

    import rxf  # noqa: F401

    trainer = next(i for i, word in enumerate(words) if Path(word).name == "fairseq-train")
    assert trainer == 0 or words[0] == "torchrun"
    parser = options.get_training_parser()
    return options.parse_args_and_arch(parser, input_args=words[trainer + 1 :])


def parsed_rxf(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """The command line as `rxf` reads it, up to where the work would begin."""
    caught: list[Namespace] = []

    def catch(args: Namespace) -> int:
        caught.append(args)
        return 0

    assert words[0] == "rxf"
    if words[1] == "prepare":
        monkeypatch.setattr(importlib.import_module(f"rxf.lab.prepare.{words[2]}"), "run", catch)
    else:
        monkeypatch.setattr(importlib.import_module(f"rxf.lab.{words[1]}"), "run", catch)
    assert cli.main(words[1:]) == 0
    return caught[0]


def check_generate_flags(args: Namespace) -> Any:
    """What fairseq makes of the flags that `rxf generate` hands on."""
    flags = importlib.import_module("rxf.lab.generate.flags")
    return flags.parse(args.checkpoint, args.data, args.split, args.flags)


# ---- what a dry run prints ----


@pytest.mark.parametrize("name", PAPER)
def test_flags_of_the_papers_recipes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = printed(name, "raw files", "work", "--update-freq", 7)
    prepare, training, generate, rouge = commands
    pairs = zip(commands, STAGES, strict=True)
    assert [" ".join(words)[: len(stage)] for words, stage in pairs] == STAGES
    args = parsed_rxf(prepare, monkeypatch)
    assert (args.dir, args.out, args.min_count) == (Path("raw files"), Path("work/data"), 0)

    train = parsed_training(training)
    assert (train.data, train.arch, train.task) == ("work/data", "bart_large", "translation")
    assert (train.criterion, train.label_smoothing) == ("label_smoothed_cross_entropy_r3f", 0.1)
    assert train.finetune_from_model == "bart.pt" and train.restore_file == "checkpoint_last.pt"
    assert not (train.reset_optimizer or train.reset_dataloader or train.reset_meters)
    assert train.max_update == float(str(train.total_num_update)) > train.warmup_updates
    # What stands behind WORK comes last and so counts.
    assert train.update_freq == [7]

    args = parsed_rxf(generate, monkeypatch)
    search = check_generate_flags(args)
    assert str(args.checkpoint) == f"{train.save_dir}/checkpoint_best.pt"
    assert search.beam > 1 and search.no_repeat_ngram_size == 3
    assert search.min_len < search.max_len_b
    args = parsed_rxf(rouge, monkeypatch)
    assert str(args.reference) == "work/data/test.reference"
    assert str(args.summary) == "work/test/hypotheses.txt"
    assert str(args.json) == "work/rouge.json"


def test_cnn_dm_is_fairseqs_bart_recipe() -> None:
    """The command of fairseq's README, apart from criterion, paths and how BART is named."""
    released = shlex.split("""
        fairseq-train work/data --max-tokens 2048 --task translation --source-lang source
        --target-lang target --truncate-source --layernorm-embedding --share-all-embeddings
        --share-decoder-input-output-embed --required-batch-size-multiple 1 --arch bart_large
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1 --dropout 0.1
        --attention-dropout 0.1 --weight-decay 0.01 --optimizer adam
        --adam-betas "(0.9, 0.999)" --adam-eps 1e-08 --clip-norm 0.1
        --lr-scheduler polynomial_decay --lr 3e-05 --total-num-update 20000
        --warmup-updates 500 --fp16 --update-freq 4 --skip-invalid-size-inputs-valid-test
        --find-unused-parameters
    """)
    env = {"BART": "bart.pt", "GPUS": "8"}
    ours = vars(parsed_training(printed("cnn_dm", "raw", "work", env=env)[1]))
    theirs = vars(parsed_training(released))
    differing = {name for name in theirs if ours.get(name) != theirs[name]}
    # --max-update stops where the schedule reaches 0; the README leaves that to the user.
    expected = {"criterion", "user_dir", "save_dir", "finetune_from_model", "max_update"}
    assert differing == expected | {"no_epoch_checkpoints", "distributed_world_size"}


@pytest.mark.parametrize("gpus, nodes, update_freq", [(1, 1, 32), (4, 1, 8), (8, 2, 2), (8, 4, 1)])
def test_any_number_of_processes_makes_the_recipes_batch(
    gpus: int, nodes: int, update_freq: int
) -> None:
    env = {"BART": "bart.pt", "GPUS": str(gpus), "NODES": str(nodes)}
    env |= {"NODE_RANK": "0", "MASTER_ADDR": "first"} if nodes > 1 else {}
    words = printed("cnn_dm", "raw", "work", env=env)[1]
    train = parsed_training(words)
    assert train.update_freq == [update_freq]
    assert train.distributed_world_size == gpus * nodes
    assert (words[0] == "torchrun") == (gpus * nodes > 1)
    if words[0] == "torchrun":
        assert words[words.index("--nproc_per_node") + 1] == str(gpus)
        assert ("--standalone" in words) == (nodes == 1)
        assert nodes == 1 or words[words.index("--nnodes") + 1] == str(nodes)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("method", ["plain", "r3f"])
@pytest.mark.parametrize("pretrained", [False, True])
def test_flags_of_the_small_recipes(
    name: str, method: str, pretrained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"PRETRAINED": "pre"} if pretrained else {}
    prepare, training, generate, rouge = printed(name, "raw", "work", method, 3, env=env)
    args = parsed_rxf(prepare, monkeypatch)
    assert args.min_count == (0 if pretrained else 20)
    assert args.dict == (Path("pre/data/dict.txt") if pretrained else None)
    assert args.encoder_json == (Path("pre/data/bpe/encoder.json") if pretrained else None)
    train = parsed_training(training)
    assert (train.encoder_layers, train.decoder_layers) == (2, 2)
    assert train.encoder_embed_dim == train.decoder_embed_dim == 128
    assert (train.seed, train.save_dir) == (3, f"work/{method}-3/checkpoints")
    assert train.criterion == "label_smoothed_cross_entropy" + "_r3f" * (method == "r3f")
    assert train.finetune_from_model == ("pre/model.pt" if pretrained else None)
    assert train.max_update == float(str(train.total_num_update)) > train.warmup_updates
    check_generate_flags(parsed_rxf(generate, monkeypatch))
    args = parsed_rxf(rouge, monkeypatch)
    assert str(args.summary) == f"work/{method}-3/test/hypotheses.txt"


def test_a_typo_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above notice a flag that is not there."""
    prepare, training, generate, rouge = printed("cnn_dm", "raw", "work", "--max-tokkens", 3)
    with pytest.raises(SystemExit):
        parsed_training(training)
    for words in (prepare, rouge):
        with pytest.raises(SystemExit):
            parsed_rxf([*words, "--no-such-flag"], monkeypatch)
    args = parsed_rxf([*generate, "--no-such-flag"], monkeypatch)
    with pytest.raises((SystemExit, ValueError)):
        check_generate_flags(args)


# ---- what goes wrong ----


@pytest.mark.parametrize("name", [*PAPER, *SMALL])
def test_usage_where_arguments_are_missing(name: str) -> None:
    for arguments in ([], ["raw"], ["--no-such-flag"]):
        done = recipe(name, *arguments, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: ") and "[--dry-run] RAW WORK" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def error_of(name: str, *arguments: object, env: Optional[dict[str, str]] = None) -> str:
    done = recipe(name, *arguments, env=env, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_one_line_where_input_is_missing(tmp_path: Path) -> None:
    work, bart = tmp_path / "work", tmp_path / "bart.pt"
    bart.touch()
    assert "set BART to the pre-trained" in error_of("cnn_dm", tmp_path, work, env={})
    assert "BART: there is no file bart.pt" in error_of("cnn_dm", tmp_path, work)
    assert "RAW: there is no folder nowhere" in error_of("scitldr", "nowhere", work, "plain", 1)
    assert "METHOD smart: give plain or r3f" in error_of("scitldr", tmp_path, work, "smart", 1)
    pretrained = {"PRETRAINED": "nowhere"}
    message = error_of("scitldr", tmp_path, work, "plain", 1, env=pretrained)
    assert "PRETRAINED: there is no file nowhere/model.pt" in message
    message = error_of("scitldr", tmp_path, work, "plain", 1, env={"BPE": "nowhere"})
    assert message.startswith("rxf: error:") and "nowhere/encoder.json" in message
    for env, told in [
        ({"GPUS": "3"}, "3 processes cannot make the recipe's batch"),
        ({"GPUS": "two"}, "GPUS=two: give a number from 1"),
        ({"NODES": "2"}, "set NODE_RANK, from 0, on each machine"),
        ({"NODES": "2", "NODE_RANK": "0"}, "set MASTER_ADDR to the first machine"),
    ]:
        assert told in error_of("cnn_dm", tmp_path, work, env={"BART": str(bart), **env})
    assert not work.exists()


# ---- from raw files to ROUGE ----


def write_copy_task(folder: Path, rows: int = 30, test: bool = True) -> Path:
    """The summary is the first two words of the text."""
    source = random.Random(1)
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test") if test else ("train", "dev"):
        texts = [source.choices(WORDS, k=source.randint(4, 9)) for _ in range(rows)]
        (folder / f"{split}.source").write_text("".join(" ".join(t) + "\n" for t in texts))
        (folder / f"{split}.target").write_text("".join(" ".join(t[:2]) + "\n" for t in texts))
    return folder


def write_byte_bpe(folder: Path) -> Path:
    """GPT-2 BPE of bytes and one merge."""
    from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

    symbols = [*bytes_to_unicode().values(), "\u0120w"]
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({s: i for i, s in enumerate(symbols)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\n\u0120 w\n", encoding="utf-8")
    (folder / "dict.txt").write_text("".join(f"{i} 1\n" for i in range(len(symbols))))
    return folder


TINY = ["--encoder-embed-dim", 16, "--encoder-ffn-embed-dim", 16, "--encoder-layers", 1]
TINY += ["--decoder-layers", 1, "--cpu", "--max-update", 4, "--total-num-update", 8]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "r3f"])
def test_scitldr_end_to_end(method: str, tmp_path: Path) -> None:
    raw, work = write_copy_task(tmp_path / "raw"), tmp_path / "new" / "work"
    env = {"BPE": str(write_byte_bpe(tmp_path / "bpe"))}
    call = ("scitldr", raw, work, method, 5, *TINY)
    recipe(*call, env=env)
    run = work / f"{method}-5"
    assert len((run / "test" / "hypotheses.txt").read_text().splitlines()) == 30
    assert "ROUGE-1" in json.dumps(json.loads((run / "rouge.json").read_text())).upper()
    times = {path: path.stat().st_mtime_ns for path in work.rglob("*")}

    again = recipe(*call, env=env)
    assert again.stdout.count("done before with the same command") == 4
    assert times == {path: path.stat().st_mtime_ns for path in work.rglob("*")}

    # Other flags do not go on from these checkpoints by accident.
    assert "are of other flags" in error_of(*call, "--lr", 1, env=env)
    # A lost product is made again, and so is what is made from it.
    (run / "test" / "hypotheses.txt").unlink()
    mended = recipe(*call, env=env)
    assert mended.stdout.count("done before with the same command") == 2
    assert (run / "test" / "hypotheses.txt").is_file()


@pytest.mark.slow
def test_a_stopped_training_goes_on(tmp_path: Path) -> None:
    raw, work = write_copy_task(tmp_path / "raw"), tmp_path / "work"
    env = {"BPE": str(write_byte_bpe(tmp_path / "bpe"))}
    call = ("scitldr", raw, work, "plain", 5, *TINY, "--log-format", "json")
    recipe(*call, env=env)
    # As if it had been stopped before the end of the training was noted.
    (work / "plain-5/.done/train").unlink()
    done = recipe(*call, env=env)
    assert "Loaded checkpoint" in done.stdout + done.stderr
    assert "@ 4 updates" in done.stdout + done.stderr


@pytest.mark.slow
def test_without_a_test_split_nothing_is_trained(tmp_path: Path) -> None:
    raw = write_copy_task(tmp_path / "raw", test=False)
    env = {"BPE": str(write_byte_bpe(tmp_path / "bpe"))}
    message = error_of("scitldr", raw, tmp_path / "work", "plain", 5, *TINY, env=env)
    assert "nothing to score against (has RAW a test split?)" in message
    assert not (tmp_path / "work/plain-5/checkpoints").exists()


@pytest.mark.slow
def test_smoke_and_the_same_by_hydra(tmp_path: Path) -> None:
    """cnn_dm.sh on made-up data, and its config with the same sizes: the same weights."""
    work = tmp_path / "work"
    done = recipe("cnn_dm", "--smoke", work, env={})
    assert (work / "rouge.json").is_file() and "rxf rouge" in done.stdout
    again = recipe("cnn_dm", "--smoke", work, env={})
    assert again.stdout.count("done before with the same command") == 4

    stand_in = work / "stand-in"
    sizes = dict.fromkeys(["encoder_layers", "decoder_layers"], 1)
    width = ["encoder_embed_dim", "decoder_embed_dim", "decoder_input_dim", "decoder_output_dim"]
    sizes |= dict.fromkeys(width, 16) | dict.fromkeys(["encoder_ffn_embed_dim"], 32)
    sizes |= {"decoder_ffn_embed_dim": 32}
    sizes |= dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 2)
    fork_fairseq_train(
        *["--config-dir", RECIPES / "config/cnn_dm", "--config-name", "r3f"],
        *[f"model.{name}={size}" for name, size in sizes.items()],
        *["model._name=bart_base", f"common.user_dir={REPO / 'rxf'}", "common.cpu=true"],
        *["common.fp16=false", f"task.data={work / 'data'}", "dataset.num_workers=0"],
        *[f"checkpoint.finetune_from_model={stand_in / 'model.pt'}"],
        *[f"checkpoint.save_dir={tmp_path / 'hydra'}", f"hydra.run.dir={tmp_path / 'run'}"],
        *["optimization.max_update=4", "lr_scheduler.total_num_update=4"],
        *["optimization.update_freq=[1]", "lr_scheduler.warmup_updates=1"],
        command="fairseq-hydra-train",
    )
    assert_bit_equal(trained_weights(tmp_path / "hydra"), trained_weights(work / "checkpoints"))


# ---- the small BART's pre-training ----


def write_text(folder: Path) -> Path:
    """A text folder of made-up documents."""
    source = random.Random(2)
    folder.mkdir()
    for split, rows in (("train", 60), ("valid", 10)):
        lines = [" ".join(source.choices(WORDS, k=20)) + " .\n" for _ in range(rows)]
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def test_flags_of_the_pretraining(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prepare, training, publish = printed("pretrain_small_bart", "text", "out", env={})
    args = parsed_rxf(prepare, monkeypatch)
    assert (args.dir, args.out, args.min_count) == (Path("text"), Path("out/data"), 200)
    train = parsed_training(training)
    # A row with <s> and </s> fits what the model is trained on.
    assert train.tokens_per_sample == args.row_tokens + 2 <= train.max_source_positions
    assert (train.mask, train.poisson_lambda, train.rotate) == (0.3, 3.5, 0.0)
    assert train.max_update == float(str(train.total_num_update)) > train.warmup_updates
    small = parsed_training(printed("scitldr", "raw", "work", "plain", 1, env={})[1])
    for name in vars(small):
        if name.startswith(("encoder_", "decoder_", "share_", "layernorm_")) or name == "arch":
            assert getattr(train, name) == getattr(small, name), name
    assert publish == ["cp", "out/checkpoints/checkpoint_best.pt", "out/model.pt"]


@pytest.mark.slow
def test_pretrained_weights_arrive_in_the_recipe(tmp_path: Path) -> None:
    """All rows of the dictionary but <mask>, which only the pre-training has."""
    import torch

    from tests.support import load_model_state, used_parameters

    bpe, pretrained = write_byte_bpe(tmp_path / "bpe"), tmp_path / "pretrained"
    text, raw = write_text(tmp_path / "text"), write_copy_task(tmp_path / "raw")
    env = {"BPE": str(bpe), "MIN_COUNT": "5"}
    recipe("pretrain_small_bart", text, pretrained, *TINY, env=env)
    again = recipe("pretrain_small_bart", text, pretrained, *TINY, env=env)
    assert again.stdout.count("done before with the same command") == 3

    env = {"PRETRAINED": str(pretrained)}
    still = [*TINY, "--lr", 0, "--max-update", 1]
    recipe("scitldr", raw, tmp_path / "work", "plain", 1, *still, env=env)
    dictionary = (pretrained / "data" / "dict.txt").read_text()
    assert (tmp_path / "work/data/dict.target.txt").read_text() == dictionary
    words = len(dictionary.splitlines()) + 4
    facts = json.loads((tmp_path / "work/data/prepare.json").read_text())["splits"]["train"]
    assert facts["source"]["unknown"] == facts["target"]["unknown"] == 0
    before = used_parameters(load_model_state(pretrained / "model.pt"))
    checkpoint = tmp_path / "work/plain-1/checkpoints/checkpoint_best.pt"
    after = used_parameters(load_model_state(checkpoint))
    assert before.keys() == after.keys()
    for name, old in before.items():
        is_table = old.shape[0] == words + 1
        assert is_table == name.endswith(("embed_tokens.weight", "output_projection.weight"))
        assert torch.equal(old[:words] if is_table else old, after[name]), name


def test_gathered_text_has_a_document_a_line(tmp_path: Path) -> None:
    def packed(name: str, text: str) -> None:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())

    packed("reuters_text/train.txt.gz", "one\ntwo\n\nthree\n")
    packed("reuters_text/valid.txt.gz", "four\n\n\nfive\nsix\n")
    packed("scitldr/train.source", "seven\n")
    done = recipe("gather_text", tmp_path / "data", tmp_path / "text", check=False)
    assert done.returncode == 1 and "aeslc/train.source.gz" in done.stderr
    assert not (tmp_path / "text").exists()
    packed("aeslc/train.source.gz", "eight\n\nnine\n")
    recipe("gather_text", tmp_path / "data", tmp_path / "text")
    train, valid = (tmp_path / "text" / f"{split}.txt.gz" for split in ("train", "valid"))
    assert gzip.decompress(train.read_bytes()) == b"one two\nthree\nseven\neight\n\nnine\n"
    assert gzip.decompress(valid.read_bytes()) == b"four\nfive six\n"
