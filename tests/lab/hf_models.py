"""Random Hugging Face models, tokenizers and batches, as small as can be."""

import io
import json
import random
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from torch import Tensor

KINDS = ["roberta", "xlm-roberta", "bart"]
MERGES = ["\u0120 t", "h e", "\u0120t he", "l l"]
POSITIONS = 40
WORDS = ["the", "film", "was", "good", "bad", "hello", "a", "day", "house", "not", "very", "old"]
CLASSES = {
    ("roberta", True): "RobertaForSequenceClassification",
    ("roberta", False): "RobertaForMaskedLM",
    ("xlm-roberta", True): "XLMRobertaForSequenceClassification",
    ("xlm-roberta", False): "XLMRobertaForMaskedLM",
    ("bart", True): "BartForSequenceClassification",
    ("bart", False): "BartForConditionalGeneration",
}


def text(seed: int, count: int = 1) -> list[str]:
    """Sentences of known words, with capitals and stops."""
    source = random.Random(seed)
    rows = [" ".join(source.choices(WORDS, k=source.randint(3, 9))) for _ in range(count)]
    return [f"{row.capitalize()}." for row in rows]


def write_bpe_files(folder: Path) -> int:
    """vocab.json and merges.txt in an order of their own; returns the number of types."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in MERGES)]
    random.Random(3).shuffle(tokens)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = [*special, *tokens, "<|endoftext|>", "madeupword0000", "<mask>"]
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *MERGES]) + "\n"
    (folder / "merges.txt").write_text(merges, encoding="utf-8")
    return len(tokens)


def write_pieces(path: Path, size: int = 50) -> int:
    """A SentencePiece model as XLM-R's; returns the number of types with ``<mask>``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text(5, 300)),
        model_writer=model,
        vocab_size=size,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return size + 2


def write_model(folder: Path, kind: str, head: bool, **settings: Any) -> Any:
    """A random model with its tokenizer's files, saved by transformers; returns the model."""
    import transformers

    pieces = kind == "xlm-roberta"
    rows = write_pieces(folder / "sentencepiece.bpe.model") if pieces else write_bpe_files(folder)
    settings = {"vocab_size": rows, **settings}
    model = getattr(transformers, CLASSES[kind, head])(configuration(kind, **settings))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            parameter.normal_(0, 0.3, generator=generator)
            if "token_type" in name:
                parameter.zero_()
    model.tie_weights()
    model.save_pretrained(folder)
    return model.eval()


def configuration(kind: str, **settings: Any) -> Any:
    import transformers

    if kind == "bart":
        sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 1}
        sizes |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 24, "encoder_attention_heads": 2}
        sizes |= {"decoder_attention_heads": 4, "max_position_embeddings": POSITIONS}
        return transformers.BartConfig(num_labels=3, **{**sizes, **settings})
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": POSITIONS + 2}
    sizes |= {"type_vocab_size": 1, "num_labels": 3, "layer_norm_eps": 1e-5}
    name = "XLMRobertaConfig" if kind == "xlm-roberta" else "RobertaConfig"
    return getattr(transformers, name)(**{**sizes, **settings})


def batch(rows: int) -> Tensor:
    """Three sentences of other lengths, padded behind, int64 of shape (3, 9)."""
    generator = torch.Generator().manual_seed(6)
    tokens = torch.randint(4, rows - 1, (3, 9), generator=generator)
    tokens[:, 0] = 0
    for row, length in enumerate((9, 6, 4)):
        tokens[row, length - 1] = 2
        tokens[row, length:] = 1
    return tokens


def decoder_input(tokens: Tensor) -> Tensor:
    """What BART's decoder is given for ``tokens``: shifted by one, beginning with ``</s>``."""
    shifted = torch.full_like(tokens, 2)
    shifted[:, 1:] = tokens[:, :-1]
    return shifted.masked_fill(tokens == 1, 1)


@torch.no_grad()
def hf_outputs(model: Any, tokens: Tensor) -> Tensor:
    """Logits of a Hugging Face model: of the classes, or of words where there is a token."""
    inputs = {"input_ids": tokens, "attention_mask": (tokens != 1).long()}
    if type(model).__name__ == "BartForConditionalGeneration":
        inputs["decoder_input_ids"] = decoder_input(tokens)
        inputs["decoder_attention_mask"] = (inputs["decoder_input_ids"] != 1).long()
    logits = model(**inputs).logits
    return logits if logits.dim() == 2 else logits[tokens != 1]


@torch.no_grad()
def fairseq_outputs(model: Any, tokens: Tensor, head: bool) -> Tensor:
    """The same of a fairseq model."""
    inputs: dict[str, Any] = {"src_tokens": tokens}
    if head:
        inputs["classification_head_name"] = "sentence_classification_head"
    if hasattr(model, "decoder"):
        inputs["src_lengths"] = (tokens != 1).sum(1)
        inputs["prev_output_tokens"] = decoder_input(tokens)
    logits = model(**inputs)[0]
    return logits if head else logits[tokens != 1]
