"""What a binarised folder of the translation task holds."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from fairseq.data.data_utils import infer_language_pair

from rxf.errors import UserError

__all__ = ["DataFolder"]

BPE_FILES = {"--gpt2-encoder-json": "encoder.json", "--gpt2-vocab-bpe": "vocab.bpe"}


@dataclass(frozen=True)
class DataFolder:
    """A folder, one split of it and the languages of its two sides."""

    path: Path
    split: str
    source: str
    target: str

    @classmethod
    def find(cls, path: Path, split: str, asked: Namespace) -> "DataFolder":
        """The folder, if it has all that generation needs.

        Args:
            path: of the folder.
            split: what the files are called, ``test`` for example.
            asked: fairseq's arguments, for languages that the user named.

        Raises:
            UserError: folder, dictionary or split is missing.
        """
        if not path.is_dir():
            raise UserError(f"DATA {path}: is no folder: give a binarised one (rxf prepare)")
        source, target = asked.source_lang, asked.target_lang
        if source is None or target is None:
            source, target = infer_language_pair(str(path))
        if source is None:
            raise UserError(
                f"DATA {path}: holds no SPLIT.SOURCE-TARGET.SOURCE.idx: give a folder made by "
                "rxf prepare summarization or fairseq-preprocess"
            )
        found = cls(path, split, source, target)
        for language in (source, target):
            if not found.dictionary(language).is_file():
                raise UserError(
                    f"{found.dictionary(language)}: there is no such file: DATA needs a "
                    "dictionary for each language; prepare it again"
                )
        found._check_split()
        return found

    def dictionary(self, language: str) -> Path:
        return self.path / f"dict.{language}.txt"

    def language_flags(self) -> list[str]:
        return ["--source-lang", self.source, "--target-lang", self.target]

    def bpe_flags(self, folder: Optional[Path], asked: Namespace) -> list[str]:
        """Flags for GPT-2 BPE from ``folder`` or from what the data brought along.

        Raises:
            UserError: a file is not there, or another ``--bpe`` was asked for as well.
        """
        if folder is not None and asked.bpe not in (None, "gpt2"):
            raise UserError(f"--bpe-dir is for GPT-2 BPE, not for --bpe {asked.bpe}: give one")
        if folder is None and asked.bpe in (None, "gpt2") and asked.post_process is None:
            folder = self.path / "bpe" if (self.path / "bpe").is_dir() else None
        if folder is None:
            if getattr(asked, "gpt2_encoder_json", "").startswith("http"):
                raise UserError(
                    f"--bpe gpt2: DATA {self.path} has no bpe/encoder.json: give --bpe-dir DIR"
                )
            return []
        for name in BPE_FILES.values():
            if not (folder / name).is_file():
                raise UserError(f"{folder / name}: there is no such file: give --bpe-dir DIR")
        files = [word for flag, name in BPE_FILES.items() for word in (flag, str(folder / name))]
        return ["--bpe", "gpt2", *files]

    def files(self) -> dict[str, Path]:
        """All that decides what is generated from this split, by name."""
        dictionaries = [self.dictionary(self.source), self.dictionary(self.target)]
        return {path.name: path for path in [*dictionaries, *self._splits()[self.split]]}

    def _splits(self) -> dict[str, list[Path]]:
        """The files of each split; fairseq reads both directions of a language pair."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.path.iterdir()):
            split, _, rest = path.name.partition(".")
            if rest.startswith((f"{self.source}-{self.target}.", f"{self.target}-{self.source}.")):
                found.setdefault(split, []).append(path)
        return found

    def _check_split(self) -> None:
        known = self._splits()
        # In the raw format the file's name ends with the language.
        sides = [path.name.split(".")[2] for path in known.get(self.split, [])]
        if self.source in sides:
            return
        raise UserError(
            f"--split {self.split}: DATA {self.path} has no such split from {self.source} to "
            f"{self.target}; it has {', '.join(known) or 'none'}"
        )
