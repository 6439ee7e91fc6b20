"""Summarization data as its authors publish it, to one text and one summary a line.

    python3 scripts/download_text.py cnn_dm FROM TO      (called by scripts/download.sh)

cnn_dm: FROM holds ``cnn/stories``, ``dailymail/stories`` and the lists of See et al. (2017), whose
lines are addresses; a story's file is called after the SHA-1 of its address.  Text stays cased
and is not tokenised, as BART's recipe has it.  A line without an end gets a full stop (captions
mostly), and the lines of an article, or the highlights, are joined with spaces.
scitldr: FROM holds the three files of SciTLDR-A.  The first summary is the target; all of them go
to ``.refs.jsonl``.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ENDS = (".", "!", "?", "'", "`", '"', "\u2019", "\u201d", ")")
HIGHLIGHT = "@highlight"


def main(words: list[str]) -> int:
    """Write the files; returns the exit status."""
    if len(words) != 3 or words[0] not in WRITERS:
        print("usage: download_text.py cnn_dm|scitldr FROM TO", file=sys.stderr)
        return 2
    try:
        WRITERS[words[0]](Path(words[1]), Path(words[2]))
    except (OSError, KeyError, ValueError) as error:
        print(f"download: error: {words[1]}: {error}: fetch {words[0]} again", file=sys.stderr)
        return 1
    return 0


def write_cnn_dm(source: Path, target: Path) -> None:
    """``train``, ``val`` and ``test`` of ``.source`` and ``.target``."""
    for split in ("train", "val", "test"):
        addresses = (source / f"all_{split}.txt").read_text(encoding="utf-8").split()
        pairs = (story(find_story(source, address)) for address in addresses)
        # Some stories have no text at all.
        kept = write_pairs(target / split, (pair for pair in pairs if all(pair)))
        print(f"download: {split}: {kept} of {len(addresses)} stories", file=sys.stderr)


def find_story(source: Path, address: str) -> Path:
    """The file of the story that was at ``address``."""
    name = hashlib.sha1(address.encode("utf-8")).hexdigest() + ".story"
    found = [source / site / "stories" / name for site in ("cnn", "dailymail")]
    return next((path for path in found if path.is_file()), found[0])


def story(path: Path) -> tuple[str, str]:
    """Article and highlights, each in one line."""
    parts: dict[bool, list[str]] = {False: [], True: []}
    is_highlight = False
    for line in whole_lines(path):
        if line.startswith(HIGHLIGHT):
            is_highlight = True
        else:
            parts[is_highlight].append(line if line.endswith(ENDS) else line + ".")
    return " ".join(parts[False]), " ".join(parts[True])


def whole_lines(path: Path) -> Iterator[str]:
    """The lines that are not blank, with single spaces."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words:
            yield " ".join(words)


def write_scitldr(source: Path, target: Path) -> None:
    """``train``, ``dev`` and ``test`` of ``.source``, ``.target`` and ``.refs.jsonl``."""
    for split in ("train", "dev", "test"):
        lines = (source / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        papers = [json.loads(line) for line in lines if line.strip()]
        pairs = [(one_line(p["source"]), one_line(p["target"][:1])) for p in papers]
        write_pairs(target / split, pairs)
        references = [{"id": p["paper_id"], "target": p["target"]} for p in papers]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in references)
        target.joinpath(f"{split}.refs.jsonl").write_text(text, encoding="utf-8")


def one_line(sentences: list[str]) -> str:
    """Sentences joined with single spaces."""
    return " ".join(" ".join(sentences).split())


def write_pairs(stem: Path, pairs: Iterable[tuple[str, str]]) -> int:
    """``STEM.source`` and ``STEM.target``; returns how many there were."""
    count = 0
    with (
        stem.with_name(f"{stem.name}.source").open("w", encoding="utf-8") as sources,
        stem.with_name(f"{stem.name}.target").open("w", encoding="utf-8") as targets,
    ):
        for source, target in pairs:
            sources.write(source + "\n")
            targets.write(target + "\n")
            count += 1
    return count


WRITERS = {"cnn_dm": write_cnn_dm, "scitldr": write_scitldr}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
