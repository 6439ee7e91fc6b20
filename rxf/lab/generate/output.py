"""OUT: ``hypotheses.txt`` and ``generate.json``, finished or not there at all."""

import hashlib
import json
import os
import shlex
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from rxf.errors import UserError
from rxf.lab.generate import checkpoint
from rxf.lab.generate.data_folder import DataFolder
from rxf.lab.prepare.output_folder import checksum, versions

__all__ = ["HYPOTHESES", "MANIFEST", "fingerprint", "finished", "publish", "reserved"]

HYPOTHESES = "hypotheses.txt"
MANIFEST = "generate.json"
# Part of what decides whether OUT is up to date: raise it when the output changes.
FORMAT = 1


def fingerprint(args: Namespace, data: DataFolder, bpe: list[str]) -> dict[str, Any]:
    """All that decides what is generated; the same need no second run.

    Args:
        args: of :func:`rxf.lab.generate.parse`.
        data: whose files are summed.
        bpe: flags that name GPT-2 BPE files, or none.
    """
    files = {f"bpe {Path(word).name}": Path(word) for word in bpe if Path(word).is_file()}
    return {
        "format": FORMAT,
        "flags": args.flags,
        "split": args.split,
        "checkpoint": [checksum(Path(path)) for path in checkpoint.paths(args.checkpoint)],
        **{name: checksum(path) for name, path in (data.files() | files).items()},
    }


def finished(out: Path, inputs: dict[str, Any], overwrite: bool = False) -> bool:
    """Whether ``out`` holds what was generated from these ``inputs``.

    Raises:
        UserError: it holds anything else that would be lost or mixed up.
    """
    if not out.exists():
        return False
    if not out.is_dir():
        raise UserError(f"OUT {out} is a file: choose a folder")
    manifest = _read_manifest(out)
    if manifest is None:
        _refuse_strangers(out)
    if overwrite or manifest is None:
        return False
    if manifest["hypotheses"] != _sum_of(out / HYPOTHESES):
        raise UserError(f"OUT {out}: {HYPOTHESES} was changed or is gone: give --overwrite")
    if manifest["inputs"] != inputs:
        raise UserError(
            f"OUT {out} was generated from something else ("
            f"{', '.join(_differing(manifest['inputs'], inputs))}): give another OUT or --overwrite"
        )
    return True


@contextmanager
def reserved(out: Path) -> Iterator[None]:
    """A folder that can be written, before hours go into what is written there.

    Where it did not exist and nothing was written, it is gone again afterwards.
    """
    try:
        made = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        (out / f".{HYPOTHESES}.{os.getpid()}").touch()
        (out / f".{HYPOTHESES}.{os.getpid()}").unlink()
    except OSError as error:
        raise _unwritable(out, error) from None
    try:
        yield
    finally:
        if made and not any(out.iterdir()):
            out.rmdir()


def publish(
    out: Path, lines: list[str], words: list[str], inputs: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Write both files, each in one step, the manifest last.

    Args:
        out: the folder, which exists.
        lines: without line ends, and with none inside.
        words: of the command line.
        inputs: of :func:`fingerprint`.
        facts: more for the manifest.
    """
    text = "".join(f"{line}\n" for line in lines).encode("utf-8")
    manifest = {
        "command": shlex.join(["rxf", "generate", *words]),
        **facts,
        "inputs": inputs,
        "hypotheses": hashlib.sha256(text).hexdigest(),
        "versions": versions(),
    }
    try:
        _replace(out / HYPOTHESES, text)
        _replace(out / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode("utf-8"))
    except OSError as error:
        raise _unwritable(out, error) from None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _unwritable(out: Path, error: OSError) -> UserError:
    return UserError(f"OUT {out}: cannot be written ({error.strerror}): choose a folder that can")


def _read_manifest(out: Path) -> Optional[dict[str, Any]]:
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(manifest, dict) and {"inputs", "hypotheses"} <= manifest.keys()
    return manifest if known else None


def _refuse_strangers(out: Path) -> None:
    """A folder of something else; what a killed run left behind is hidden and no hindrance."""
    ours = (f".{HYPOTHESES}.", f".{MANIFEST}.")
    held = sorted(path.name for path in out.iterdir() if not path.name.startswith(ours))
    if held:
        raise UserError(
            f"OUT {out} holds {held[0]} and was not made by rxf generate: choose another folder"
        )


def _sum_of(path: Path) -> Optional[str]:
    return checksum(path) if path.is_file() else None


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    names = before.keys() | now.keys()
    return sorted(name for name in names if before.get(name) != now.get(name))
