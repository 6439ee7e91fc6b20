"""rxf convert to-hf: checkpoints of fairseq-train, old files, heads, classes, bad input."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rxf.cli import main
from rxf.errors import UserError
from rxf.lab.convert import fairseq_model, vocabulary
from tests import support
from tests.lab import hf_models

pytest.importorskip("transformers", reason="pip install transformers (extra test)")
pytest.importorskip("safetensors", reason="pip install safetensors (extra hf)")

R4F = {"spectral_norm_classification_head": True, "spectral_norm_scope": "head"}


def to_hf(checkpoint: Path, out: Path, *flags: object) -> Path:
    assert main(["convert", "to-hf", str(checkpoint), str(out), *map(str, flags)]) == 0
    return out


def classifier(folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def save(path: Path, model: Any) -> Path:
    """A checkpoint that fairseq can load too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}}
    state = {"args": model.args, "model": model.state_dict()}
    state |= {"optimizer_history": [{**history, "num_updates": 1}]}
    state |= {"extra_state": {"train_iterator": {"epoch": 1}}}
    torch.save(state, path)
    return path


def fine_tuned(data: Path, **settings: Any) -> Any:
    """A RoBERTa with a head, whose weights are large enough to tell something."""
    _, _, model, _ = support.build_from_flags(support.train_flags(data, Path("unused"), **settings))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3, generator=generator)
    return model.eval()


def loaded(checkpoint: Path) -> Any:
    """The model as fairseq itself loads it."""
    from fairseq import checkpoint_utils

    return checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])[0][0].eval()


def assert_same_outputs(folder: Path, model: Any, rows: int) -> None:
    tokens = hf_models.batch(rows)
    wanted = hf_models.fairseq_outputs(model, tokens, head=True)
    assert wanted.std() > 1e-3
    got = hf_models.hf_outputs(classifier(folder), tokens)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


# 4 special types, 40 words, <mask>.
ROWS = 45


@pytest.mark.parametrize("settings", [{}, R4F], ids=["plain", "r4f"])
def test_a_fine_tuned_head(tmp_path: Path, sentence_data: Path, settings: dict) -> None:
    model = fine_tuned(sentence_data, **settings)
    checkpoint = save(tmp_path / "run" / "checkpoint_best.pt", model)
    model = loaded(checkpoint)

    out = to_hf(checkpoint, tmp_path / "hf", "--data", sentence_data)
    assert_same_outputs(out, model, ROWS)
    dense = classifier(out).classifier.out_proj.weight
    largest = torch.linalg.matrix_norm(dense, 2).item()
    assert (largest == pytest.approx(1, abs=1e-4)) == bool(settings)


def test_a_training_with_several_heads(tmp_path: Path, sentence_data: Path) -> None:
    flags = support.train_flags(
        sentence_data, tmp_path / "run", criterion="sentence_prediction_mhloss", max_update=2
    )
    support.fork_fairseq_train(*flags)
    checkpoint = tmp_path / "run" / "checkpoint_last.pt"

    # The checkpoint names the folder of its data itself.
    out = to_hf(checkpoint, tmp_path / "hf")
    assert_same_outputs(out, loaded(checkpoint), ROWS)
    head = support.load_checkpoint(checkpoint)["criterion"]
    mean = torch.stack([head[f"heads.{n}.weight"] for n in range(5)]).mean(0)
    assert torch.equal(classifier(out).classifier.out_proj.weight, mean)


def test_the_names_of_the_classes_are_in_the_order_of_the_outputs(tmp_path: Path) -> None:
    names = ["not_entailment", "entailment", "neither"]
    data = support.write_sentence_data(tmp_path / "data", classes=3, labels=names)
    with (data / "label" / "dict.txt").open("a") as lines:
        lines.write("madeupword0000 0\n")
    checkpoint = save(tmp_path / "model.pt", fine_tuned(data, num_classes=3))

    config = classifier(to_hf(checkpoint, tmp_path / "hf", "--data", data)).config
    assert config.id2label == dict(enumerate(names))
    assert config.label2id == {name: number for number, name in enumerate(names)}
    assert config.problem_type == "single_label_classification"


def test_a_regression(tmp_path: Path) -> None:
    data = support.write_sentence_data(tmp_path / "data", regression=True)
    checkpoint = save(tmp_path / "model.pt", fine_tuned(data))

    out = to_hf(checkpoint, tmp_path / "hf", "--data", data)
    assert classifier(out).config.problem_type == "regression"
    assert_same_outputs(out, loaded(checkpoint), ROWS)


def test_the_language_model_of_a_fine_tuned_file(tmp_path: Path, sentence_data: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = fine_tuned(sentence_data)
    checkpoint = save(tmp_path / "model.pt", model)
    flags = ["--data", sentence_data, "--head", "none"]
    words = AutoModelForMaskedLM.from_pretrained(to_hf(checkpoint, tmp_path / "hf", *flags)).eval()

    tokens = hf_models.batch(ROWS)
    wanted = hf_models.fairseq_outputs(model, tokens, head=False)
    torch.testing.assert_close(hf_models.hf_outputs(words, tokens), wanted, rtol=1e-5, atol=1e-5)


def test_names_and_parts_of_old_files(tmp_path: Path, sentence_data: Path) -> None:
    """As RoBERTa's authors published it: decoder for encoder, q, k and v in one; and with the
    copies that stock fairseq 0.12.2 saves."""
    model = fine_tuned(sentence_data)
    new = save(tmp_path / "new.pt", model)
    state = model.state_dict()
    old: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        found = re.fullmatch(r"(.*)self_attn\.([qkv])_proj\.(weight|bias)", name)
        if found is None:
            old[name] = tensor
        elif found[2] == "q":
            parts = [state[f"{found[1]}self_attn.{part}_proj.{found[3]}"] for part in "qkv"]
            old[f"{found[1]}self_attn.in_proj_{found[3]}"] = torch.cat(parts)
            old[f"{found[1]}in_proj_{found[3]}"] = torch.zeros_like(torch.cat(parts))
    renamed = {
        re.sub("^encoder", "decoder", name).replace("layernorm_embedding", "emb_layer_norm"): tensor
        for name, tensor in old.items()
    }
    torch.save({"args": model.args, "model": renamed}, tmp_path / "old.pt")

    outs = [
        to_hf(tmp_path / f"{n}.pt", tmp_path / n, "--data", sentence_data) for n in ("new", "old")
    ]
    assert new.name == "new.pt"
    files = [(out / "model.safetensors").read_bytes() for out in outs]
    assert files[0] == files[1]


@pytest.mark.parametrize("mask", [True, False], ids=["with mask", "without"])
def test_bart_with_and_without_the_row_of_the_mask(tmp_path: Path, mask: bool) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    rows = hf_models.write_model(tmp_path / "first", "bart", head=False).config.vocab_size
    main(["convert", "from-hf", str(tmp_path / "first"), str(tmp_path / "bart")])
    checkpoint = tmp_path / "bart" / "model.pt"
    if not mask:
        # What fine-tuning by fairseq's task translation leaves.
        state = support.load_checkpoint(checkpoint)
        for name, tensor in state["model"].items():
            if "embed_tokens" in name or "output_projection" in name:
                state["model"][name] = tensor[:-1]
        torch.save(state, checkpoint)
        rows -= 1

    out = to_hf(checkpoint, tmp_path / "hf")
    tokens = hf_models.batch(rows)
    model = AutoModelForSeq2SeqLM.from_pretrained(out).eval()
    assert model.config.vocab_size == rows
    assert AutoTokenizer.from_pretrained(out)("the film")["input_ids"][-1] == 2

    saved = fairseq_model.read(checkpoint)
    dictionary = vocabulary.dictionary_of(tmp_path / "bart" / "dict.txt", rows, "")
    own = fairseq_model.build(saved.settings, dictionary, "")
    own.load_state_dict(saved.weights, model_cfg=saved.settings)
    wanted = hf_models.fairseq_outputs(own.eval(), tokens, head=False)
    torch.testing.assert_close(hf_models.hf_outputs(model, tokens), wanted, rtol=1e-5, atol=1e-5)


def test_a_dictionary_without_rare_tokens_gets_no_tokenizer(
    tmp_path: Path, sentence_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = save(tmp_path / "model.pt", fine_tuned(sentence_data))
    bpe = tmp_path / "bpe"
    bpe.mkdir()
    (bpe / "encoder.json").write_text('{"a": 0, "b": 1}')
    (bpe / "vocab.bpe").write_text("#version: 0.2\n")

    out = to_hf(checkpoint, tmp_path / "hf", "--data", sentence_data, "--bpe-dir", bpe)
    assert "no tokenizer" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]


def test_files_that_the_prepared_folder_names(tmp_path: Path) -> None:
    """prepare.json says where the dictionary was; what it was made with lies beside it."""
    from transformers import AutoConfig, AutoTokenizer

    hf_models.write_model(tmp_path / "first", "xlm-roberta", head=False)
    main(["convert", "from-hf", str(tmp_path / "first"), str(tmp_path / "xlmr")])
    data = tmp_path / "data"
    (data / "input0").mkdir(parents=True)
    shutil.copy(tmp_path / "xlmr" / "dict.txt", data / "input0")
    facts = {"dictionary": str(tmp_path / "xlmr" / "dict.txt")}
    (data / "prepare.json").write_text(json.dumps(facts))
    checkpoint = tmp_path / "run" / "model.pt"
    checkpoint.parent.mkdir()
    shutil.move(tmp_path / "xlmr" / "model.pt", checkpoint)

    out = to_hf(checkpoint, tmp_path / "hf", "--data", data)
    assert AutoConfig.from_pretrained(out).model_type == "xlm-roberta"
    assert AutoTokenizer.from_pretrained(out)("the film")["input_ids"][0] == 0
    modes = {path.stat().st_mode for path in out.iterdir()}
    assert len(modes) == 1


def test_pieces_of_another_model(tmp_path: Path, checkpoint: Path) -> None:
    hf_models.write_pieces(tmp_path / "other.model")

    line = refused(checkpoint, tmp_path / "hf", "--spm", tmp_path / "other.model")
    assert "its types are not the pieces of" in line


# ------------------------------------------------------------------------- real files


def test_the_shared_model(tmp_path: Path, shared_models: Path, shared_data: Path) -> None:
    """GPT-2's own files: 50,265 types, fp16, numbers that RoBERTa's users know."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    bpe = shared_data / "gpt2_bpe"
    checkpoint = shared_models / "roberta_mini" / "model.pt"
    out = to_hf(checkpoint, tmp_path / "hf", "--dict", bpe / "dict.txt", "--bpe-dir", bpe)

    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer("Hello world!")["input_ids"] == [0, 31414, 232, 328, 2]
    assert (len(tokenizer), tokenizer.mask_token_id) == (50265, 50264)
    model = AutoModelForMaskedLM.from_pretrained(out)
    assert model.dtype == torch.float16

    main(["convert", "from-hf", str(out), str(tmp_path / "back")])
    support.assert_bit_equal(
        support.used_parameters(without_versions(tmp_path / "back" / "model.pt")),
        support.used_parameters(without_versions(checkpoint)),
    )
    assert encoder(tmp_path / "back") == encoder(bpe)
    assert order(tmp_path / "back") == order(bpe)
    wanted = (bpe / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]
    assert (tmp_path / "back" / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:] == wanted


def without_versions(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = support.load_model_state(checkpoint)
    return {name: tensor for name, tensor in state.items() if not name.endswith(".version")}


def encoder(folder: Path) -> dict[str, int]:
    return json.loads((folder / "encoder.json").read_text(encoding="utf-8"))


def order(folder: Path) -> list[str]:
    lines = (folder / "dict.txt").read_text(encoding="utf-8").splitlines()
    return [line.rsplit(" ", 1)[0] for line in lines]


# ------------------------------------------------------------------------- bad input


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, sentence_data: Path) -> Path:
    """A fine-tuned RoBERTa with its dictionary beside it, for reading only."""
    folder = tmp_path_factory.mktemp("checkpoint")
    shutil.copy(sentence_data / "input0" / "dict.txt", folder)
    model = fine_tuned(sentence_data)
    model.args.data = ""
    return save(folder / "model.pt", model)


def refused(*words: object) -> str:
    with pytest.raises(UserError) as caught:
        main(["convert", "to-hf", *map(str, words)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_paths(tmp_path: Path, checkpoint: Path) -> None:
    out = tmp_path / "hf"
    assert "there is no such file" in refused(tmp_path / "none.pt", out)
    assert "is no SentencePiece" in refused(
        checkpoint, out, "--spm", checkpoint.parent / "dict.txt"
    )
    assert "has no encoder.json" in refused(checkpoint, out, "--bpe-dir", tmp_path)
    assert "no such folder" in refused(checkpoint, out, "--data", tmp_path / "none")
    assert "--dict" in refused(checkpoint, out, "--dict", tmp_path / "none.txt")
    assert "has sentence_classification_head" in refused(checkpoint, out, "--head", "mnli")
    assert not out.exists()


def test_no_dictionary(tmp_path: Path, checkpoint: Path) -> None:
    alone = shutil.copy(checkpoint, tmp_path / "model.pt")

    assert "no dictionary is beside it: give --dict" in refused(alone, tmp_path / "hf")


def test_a_dictionary_of_another_size(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "dict.txt").write_text("word 1\n")

    line = refused(checkpoint, tmp_path / "hf", "--dict", tmp_path / "dict.txt")
    assert "makes 5 types, or 6 with <mask>, and the model's embeddings have 45 rows" in line


def test_classes_of_another_task(tmp_path: Path, checkpoint: Path) -> None:
    data = support.write_sentence_data(tmp_path / "data", classes=3)

    assert "names 3 classes and the head" in refused(checkpoint, tmp_path / "hf", "--data", data)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"arch": "transformer"}, "architecture transformer is none of RoBERTa"),
        ({"encoder_normalize_before": True}, "encoder_normalize_before is True"),
        ({"activation_fn": "tanh"}, "activation_fn tanh"),
        ({"pooler_activation_fn": "relu"}, "pooler_activation_fn is relu"),
        ({"encoder_layers": 3}, "its weights do not fit its settings"),
    ],
    ids=str,
)
def test_models_without_a_counterpart(
    tmp_path: Path, checkpoint: Path, settings: dict, message: str
) -> None:
    state = support.load_checkpoint(checkpoint)
    vars(state["args"]).update(settings)
    torch.save(state, tmp_path / "model.pt")

    line = refused(tmp_path / "model.pt", tmp_path / "hf", "--dict", checkpoint.parent / "dict.txt")
    assert message in line


def test_a_bart_with_two_sizes(tmp_path: Path) -> None:
    hf_models.write_model(tmp_path / "first", "bart", head=False)
    main(["convert", "from-hf", str(tmp_path / "first"), str(tmp_path / "bart")])
    state = support.load_checkpoint(tmp_path / "bart" / "model.pt")
    state["args"].max_target_positions = 20
    torch.save(state, tmp_path / "bart" / "model.pt")

    line = refused(tmp_path / "bart" / "model.pt", tmp_path / "hf")
    assert "max_target_positions is 20 beside 40" in line


def test_a_file_that_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"nothing")

    assert "damaged, cut short or no checkpoint" in refused(tmp_path / "model.pt", tmp_path / "hf")
