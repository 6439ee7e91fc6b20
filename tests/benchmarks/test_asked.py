"""What the command line comes to, and wrong flags: one line, before anything is measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from benchmarks.training_step import asked, command, measure, peers, targets
from benchmarks.training_step.setting import Setting
from rxf.errors import UserError
from tests.benchmarks.made_up import measured


@pytest.fixture(autouse=True)
def no_gpu() -> Iterator[None]:
    with mock.patch("torch.cuda.is_available", return_value=False):
        yield


def settings_of(*words: str) -> list[Setting]:
    return asked.settings(asked.parser().parse_args(words))


def test_without_flags_it_is_the_workload_of_the_targets_on_a_cpu() -> None:
    assert settings_of() == [targets.CPU_ROBERTA, targets.CPU_BART]


def test_without_flags_it_is_the_workload_of_the_targets_on_a_gpu() -> None:
    with mock.patch("torch.cuda.is_available", return_value=True):
        found = settings_of("--batches", "1")
        assert settings_of()[0].batches == 8
    assert found == [targets.GPU_ROBERTA, targets.GPU_BART]


def test_flags_overrule() -> None:
    words = ["--model", "bart_large", "--layers", "3", "--lengths", "40", "--batch", "5"]
    (found,) = settings_of(*words, "--vocabulary", "99", "--precision", "bf16")
    assert found == Setting("bart_large", 3, 1024, 99, 5, "40:20", None, "bf16")


def test_batches_by_tokens() -> None:
    (found,) = settings_of("--model", "bart_base", "--lengths", "cnndm", "--batches", "3")
    assert (found.batch, found.max_tokens, found.count()) == (None, 2048, 6)
    (found,) = settings_of("--model", "roberta_base", "--max-tokens", "512", "--lengths", "100")
    assert (found.batch, found.count()) == (None, 5)


def test_growth_changes_one_thing() -> None:
    args = asked.parser().parse_args(["--model", "bart_base", "--grow", "length,size"])
    (base,) = asked.settings(args)
    length, size = asked.growths(args, [base])
    assert [step.lengths for step in length.settings] == ["32:16", "64:32", "128:64", "256:128"]
    assert [step.layers for step in size.settings] == list(size.values) == [1, 2, 4, 8]
    assert {step.vocabulary for step in length.settings} == {base.vocabulary}
    keys = [peer.key for peer in asked.chosen(args, base)]
    assert keys == ["fairseq-plain", "fairseq-r3f", "plain", "r3f"]


WRONG = {
    "--model gpt": "--model gpt: unknown",
    "--model roberta_base --lengths cnndm": "--lengths cnndm: choose rte, sst2 or N",
    "--lengths rte": "(for bart_base)",
    "--precision fp16": "--precision fp16: needs a GPU",
    "--precision fp8": "--precision fp8: unknown",
    "--model roberta_base --lengths 600": "roberta_base takes 512 tokens at most",
    "--lengths 100:50 --model bart_base --max-tokens 64": "--max-tokens 64: a row of --lengths",
    "--peers nobody": "--peers nobody: there is none; choose all, or from fairseq-plain",
    "--at-once 1": "--at-once 1:",
    "--rounds 0": "argument --rounds: 0: a whole number of 1 or more",
    "--rounds many": "argument --rounds: many: a whole number",
    "--no-such-flag": "unrecognized arguments: --no-such-flag",
    "--also nothing": "--also nothing: give",
    "--values 3": "--values: says what --grow takes",
    "--grow batch": "--grow: give one --model",
    "--model roberta_base --grow depth": "--grow depth: unknown",
    "--model roberta_base --grow batch --values 2,x": "--values x:",
    "--model roberta_base --grow batch,size --values 2": "--values: are of one thing",
    "--model roberta_base --grow length --values 9000": "takes 512 tokens at most",
    "--width 100": "--width 100: a multiple of 64",
    "--vocabulary 4": "--vocabulary 4: 10 or more",
    "--json /": "--json /: is a folder",
    "--json /dev/null/x": "--json /dev/null/x: ",
    "--picture x.abc": "--picture x.abc: is none of",
}


@pytest.mark.parametrize("words", list(WRONG))
def test_a_wrong_flag_is_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def never(*_: object) -> None:
        raise AssertionError("measured")

    with mock.patch.object(measure, "measure", never):
        try:
            status: object = command.main(words.split())
        except SystemExit as error:
            status = error.code
    out, err = capsys.readouterr()
    assert status in (1, 2) and out == ""
    assert err.startswith("training_step: error: ") and err.count("\n") == 1
    assert str(WRONG[words]) in err


def test_two_peers_of_one_title_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--also", "x: --eps 1", "--also", "x: --eps 2"]
    assert command.main(words) == 1
    assert "--also x: another peer has this title" in capsys.readouterr().err


def test_another_peer_is_r3f_with_more() -> None:
    made = peers.additional("no fixes: RXF_FIXES=off A1=b=c --eps 0.1 --x 'a b'", pairs=False)
    assert made.title == "no fixes" and made.plugin
    assert made.environment == {"RXF_FIXES": "off", "A1": "b=c"}
    assert made.words == ("--eps", "0.1", "--x", "a b")
    assert made.flags == peers.known(False)["r3f"].flags


def test_every_method_of_the_registry_is_a_peer() -> None:
    assert set(peers.MAIN) <= set(peers.known(False))
    assert {"rdrop", "smart", "recadam"} <= set(peers.known(True))
    assert "freelb" not in peers.known(True)
    stock = [peer.key for peer in peers.known(True).values() if not peer.plugin]
    assert stock == ["fairseq-plain", "fairseq-r3f"]
    files = {peer.key for peer in peers.known(False).values() if peer.needs_file}
    assert files == {"recadam", "cwgnc"}


def test_groups_have_the_first_peer_each() -> None:
    found = peers.chosen("plain,r3f,clean,separate", False, ())
    keys = [[peer.key for peer in group] for group in measure.groups(found, 3)]
    assert keys == [["plain", "r3f", "clean"], ["plain", "separate"]]
    assert list(measure.groups(found, None)) == [found]
    assert list(measure.groups(found[:1], None)) == [found[:1]]


def test_what_is_measured_is_kept_when_a_later_peer_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_for_bart(_: object, setting: Setting, effort: object) -> measure.Measured:
        if setting.pairs:
            raise UserError("rxf R3F packed: out of memory")
        return measured({"fairseq-plain": [1.0], "r3f": [1.5]}, setting)

    file = tmp_path / "kept.json"
    with mock.patch.object(measure, "measure", fails_for_bart):
        assert command.main(["--json", str(file)]) == 1
    out, err = capsys.readouterr()
    assert err == "training_step: error: rxf R3F packed: out of memory\n" and "| R3F |" in out
    (block,) = json.loads(file.read_text())["figures"]["blocks"]
    assert block["peers"]["r3f"]["ratio"] == 1.5
