"""rxf convert from-hf: random models of each family, weights bit-equal and outputs equal."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rxf.cli import main
from rxf.errors import UserError
from tests import support
from tests.lab import hf_models

pytest.importorskip("transformers", reason="pip install transformers (extra test)")
pytest.importorskip("safetensors", reason="pip install safetensors (extra hf)")

HEADS = pytest.mark.parametrize("head", [True, False], ids=["head", "words"])


def convert(source: Path, out: Path) -> Path:
    assert main(["convert", "from-hf", str(source), str(out)]) == 0
    return out


def back(out: Path, folder: Path, *flags: str) -> Path:
    assert main(["convert", "to-hf", str(out / "model.pt"), str(folder), *flags]) == 0
    return folder


def fairseq_hub(kind: str, folder: Path) -> Any:
    """As fairseq's users load it, without the network."""
    from fairseq.models.bart import BARTModel
    from fairseq.models.roberta import RobertaModel, XLMRModel

    model = {"roberta": RobertaModel, "xlm-roberta": XLMRModel, "bart": BARTModel}[kind]
    files = {}
    if kind != "xlm-roberta":
        files = {"gpt2_encoder_json": str(folder / "encoder.json")}
        files["gpt2_vocab_bpe"] = str(folder / "vocab.bpe")
    return model.from_pretrained(str(folder), "model.pt", ".", **files).eval()


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", hf_models.KINDS)
@HEADS
def test_there_and_back(tmp_path: Path, kind: str, head: bool) -> None:
    model = hf_models.write_model(tmp_path / "hf", kind, head)
    out = convert(tmp_path / "hf", tmp_path / "fairseq")
    hub = fairseq_hub(kind, out)
    tokens = hf_models.batch(model.config.vocab_size)

    wanted = hf_models.hf_outputs(model, tokens)
    got = hf_models.fairseq_outputs(hub.model, tokens, head)
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)

    again = saved_weights(back(out, tmp_path / "again"))
    support.assert_bit_equal(again, saved_weights(tmp_path / "hf"))


@pytest.mark.parametrize("kind", hf_models.KINDS)
def test_text_gets_the_same_numbers(tmp_path: Path, kind: str) -> None:
    from transformers import AutoTokenizer

    hf_models.write_model(tmp_path / "hf", kind, head=False)
    out = convert(tmp_path / "hf", tmp_path / "fairseq")
    tokenizer = AutoTokenizer.from_pretrained(back(out, tmp_path / "again"))
    hub = fairseq_hub(kind, out)

    for sentence in [*hf_models.text(1, 5), "Tell the other\u2019s", "  two  spaces 12"]:
        assert tokenizer(sentence)["input_ids"] == hub.encode(sentence).tolist(), sentence


@pytest.mark.parametrize("kind", hf_models.KINDS)
def test_files_of_a_model_without_a_head(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = hf_models.write_model(tmp_path / "hf", kind, head=False)
    model.base_model.save_pretrained(tmp_path / "hf")
    hub = fairseq_hub(kind, convert(tmp_path / "hf", tmp_path / "fairseq"))
    tokens = hf_models.batch(model.config.vocab_size)

    if kind == "bart":
        # Words are predicted by the embeddings, which are there.
        got = hf_models.fairseq_outputs(hub.model, tokens, head=False)
        torch.testing.assert_close(got, hf_models.hf_outputs(model, tokens), rtol=1e-5, atol=1e-5)
        return
    assert "fresh ones stand in" in capsys.readouterr().out
    with torch.no_grad():
        wanted = model.base_model(tokens, attention_mask=(tokens != 1).long()).last_hidden_state
        got = hub.model(tokens, features_only=True)[0]
    torch.testing.assert_close(got[tokens != 1], wanted[tokens != 1], rtol=1e-5, atol=1e-5)


def test_the_embedding_of_the_token_type_is_not_lost(tmp_path: Path) -> None:
    model = hf_models.write_model(tmp_path / "hf", "roberta", head=True)
    with torch.no_grad():
        model.roberta.embeddings.token_type_embeddings.weight.normal_(0, 0.5)
    model.save_pretrained(tmp_path / "hf")
    hub = fairseq_hub("roberta", convert(tmp_path / "hf", tmp_path / "fairseq"))
    tokens = hf_models.batch(model.config.vocab_size)

    got = hf_models.fairseq_outputs(hub.model, tokens, head=True)
    torch.testing.assert_close(got, hf_models.hf_outputs(model, tokens), rtol=1e-5, atol=1e-5)


def test_another_epsilon_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hf_models.write_model(tmp_path / "hf", "roberta", True, layer_norm_eps=1e-12)
    convert(tmp_path / "hf", tmp_path / "fairseq")

    told = capsys.readouterr().out
    assert "layer_norm_eps is 1e-12 there and 1e-05 in fairseq" in told
    assert "3 outputs in this order: LABEL_0, LABEL_1, LABEL_2" in told


def test_words_predicted_with_a_matrix_of_their_own(tmp_path: Path) -> None:
    model = hf_models.write_model(tmp_path / "hf", "roberta", False, tie_word_embeddings=False)
    out = convert(tmp_path / "hf", tmp_path / "fairseq")
    tokens = hf_models.batch(model.config.vocab_size)

    got = hf_models.fairseq_outputs(fairseq_hub("roberta", out).model, tokens, head=False)
    torch.testing.assert_close(got, hf_models.hf_outputs(model, tokens), rtol=1e-5, atol=1e-5)
    again = saved_weights(back(out, tmp_path / "again"))
    wanted = saved_weights(tmp_path / "hf")
    assert torch.equal(again["lm_head.decoder.weight"], wanted["lm_head.decoder.weight"])


def test_half_precision_stays(tmp_path: Path) -> None:
    model = hf_models.write_model(tmp_path / "hf", "roberta", head=True)
    model.half().save_pretrained(tmp_path / "hf")
    again = back(convert(tmp_path / "hf", tmp_path / "fairseq"), tmp_path / "again")

    support.assert_bit_equal(saved_weights(again), saved_weights(tmp_path / "hf"))
    assert json.loads((again / "config.json").read_text())["torch_dtype"] == "float16"


@pytest.mark.parametrize("kind", ["roberta", "bart"])
def test_other_files_of_weights(tmp_path: Path, kind: str) -> None:
    """Several files with an index, and the pickle of before safetensors, tied names and all."""
    model = hf_models.write_model(tmp_path / "one", kind, head=False)
    wanted = support.load_model_state(convert(tmp_path / "one", tmp_path / "a") / "model.pt")
    for name in ("several", "pickle"):
        shutil.copytree(tmp_path / "one", tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "several", max_shard_size="8kB")
    assert len(list((tmp_path / "several").glob("*.safetensors"))) > 1
    torch.save(model.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")

    for name in ("several", "pickle"):
        got = support.load_model_state(
            convert(tmp_path / name, tmp_path / f"b-{name}") / "model.pt"
        )
        support.assert_bit_equal(got, wanted)


def test_tokenizer_json_gives_the_same_dictionary(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    hf_models.write_model(tmp_path / "hf", "roberta", head=False)
    AutoTokenizer.from_pretrained(tmp_path / "hf").save_pretrained(tmp_path / "hf")
    first = convert(tmp_path / "hf", tmp_path / "first")
    (tmp_path / "hf" / "vocab.json").unlink()
    second = convert(tmp_path / "hf", tmp_path / "second")

    for name in ("dict.txt", "encoder.json", "vocab.bpe"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_rows_that_no_token_has(tmp_path: Path) -> None:
    rows = hf_models.write_bpe_files(tmp_path / "files") + 5
    model = hf_models.write_model(tmp_path / "hf", "roberta", head=False, vocab_size=rows)
    hub = fairseq_hub("roberta", convert(tmp_path / "hf", tmp_path / "fairseq"))

    assert len(hub.task.source_dictionary) == rows
    assert hub.task.source_dictionary.index("<mask>") == rows - 6
    got = hf_models.fairseq_outputs(hub.model, hf_models.batch(rows), head=False)
    wanted = hf_models.hf_outputs(model, hf_models.batch(rows))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_fine_tuning_starts_from_the_weights(tmp_path: Path, sentence_data: Path) -> None:
    """With a rate of 0 and the words of the data, every weight is still the converted one."""
    lines = (sentence_data / "input0" / "dict.txt").read_text().splitlines()
    words = [line.split()[0] for line in lines]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    model = hf_models.write_model(tmp_path / "hf", "roberta", True, vocab_size=len(tokens))
    model.config.num_labels = 2
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (tmp_path / "hf" / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "hf" / "merges.txt").write_text("#version: 0.2\n")
    out = convert(tmp_path / "hf", tmp_path / "fairseq")

    settings = {"max_positions": hf_models.POSITIONS, "lr": 0.0, "max_update": 1}
    settings |= {"num_classes": 3, "finetune_from_model": out / "model.pt"}
    support.fork_fairseq_train(*support.train_flags(sentence_data, tmp_path / "run", **settings))
    trained = support.trained_weights(tmp_path / "run")
    support.assert_bit_equal(
        trained, support.used_parameters(support.load_model_state(out / "model.pt"))
    )


# ------------------------------------------------------------------------- bad input


def edit_config(**values: Any) -> Any:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return edit


def remove(*files: str) -> Any:
    def edit(folder: Path) -> None:
        for name in files:
            (folder / name).unlink()

    return edit


def overwrite(name: str, content: str) -> Any:
    def edit(folder: Path) -> None:
        (folder / name).write_text(content)

    return edit


BAD = {
    "other architecture": (edit_config(model_type="bert"), "model_type bert is not known"),
    "no config": (remove("config.json"), "config.json: there is no such file"),
    "config cut short": (overwrite("config.json", "{"), "config.json: is no JSON"),
    "no weights": (remove("model.safetensors"), "has no weights"),
    "weights cut short": (overwrite("model.safetensors", "x"), "model.safetensors: cannot be read"),
    "no tokenizer": (remove("vocab.json", "merges.txt"), "has no vocab.json with merges.txt"),
    "a size gone": (edit_config(hidden_size=18), "its weights do not fit config.json"),
    "a size that cannot be": (edit_config(hidden_size=17), "its sizes make no model"),
    "more layers": (edit_config(num_hidden_layers=3), "its weights lack roberta.encoder.layer.2."),
    "relative positions": (
        edit_config(position_embedding_type="relative_key"),
        "position_embedding_type is relative_key, and fairseq's model has absolute",
    ),
    "padding elsewhere": (edit_config(pad_token_id=0), "pad_token_id is 0, and fairseq's"),
    "activation": (edit_config(hidden_act="swish"), "activation swish: fairseq has gelu"),
    "other specials": (
        overwrite("vocab.json", '{"[CLS]": 0, "[PAD]": 1, "[SEP]": 2, "[UNK]": 3}'),
        "begins with [CLS] [PAD] [SEP] [UNK]",
    ),
    "gaps": (overwrite("vocab.json", '{"<s>": 0, "<pad>": 7}'), "do not run from 0 to 1"),
    "larger vocabulary": (
        lambda folder: overwrite(
            "vocab.json",
            json.dumps({t: n for n, t in enumerate(["<s>", "<pad>", "</s>", "<unk>"])})[:-1]
            + "".join(f', "t{n}": {n + 4}' for n in range(999))
            + "}",
        )(folder),
        "has 1003 types and the embeddings",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "hf"
    hf_models.write_model(folder, "roberta", head=False)
    return folder


@pytest.mark.parametrize("case", BAD)
def test_bad_input(tmp_path: Path, good: Path, case: str) -> None:
    edit, message = BAD[case]
    shutil.copytree(good, tmp_path / "hf")
    edit(tmp_path / "hf")

    with pytest.raises(UserError) as caught:
        convert(tmp_path / "hf", tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_xlmr_needs_its_pieces(tmp_path: Path) -> None:
    hf_models.write_model(tmp_path / "hf", "xlm-roberta", head=False)
    (tmp_path / "hf" / "sentencepiece.bpe.model").unlink()

    with pytest.raises(UserError, match="has no sentencepiece.bpe.model"):
        convert(tmp_path / "hf", tmp_path / "out")


def test_a_bias_that_fairseq_lacks(tmp_path: Path) -> None:
    model = hf_models.write_model(tmp_path / "hf", "bart", head=False)
    model.final_logits_bias += 1
    model.save_pretrained(tmp_path / "hf")

    with pytest.raises(UserError, match="final_logits_bias is not zero"):
        convert(tmp_path / "hf", tmp_path / "out")


def test_a_folder_in_use_is_left_alone(tmp_path: Path, good: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()

    with pytest.raises(UserError, match="exists and is not empty"):
        convert(good, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
