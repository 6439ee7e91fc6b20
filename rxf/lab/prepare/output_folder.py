"""A folder that appears finished or not at all, and is not made twice from the same files."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Optional

from rxf.errors import UserError

__all__ = [
    "MANIFEST",
    "PREPARE",
    "Maker",
    "checksum",
    "dropped_notes",
    "finished_manifest",
    "staged",
    "versions",
]

MANIFEST = "prepare.json"
SHOWN_DROPS = 5


class Maker(NamedTuple):
    """The command that makes a folder.

    Attributes:
        command: as a person types it.
        verb: what it did to the folder, in messages.
        manifest: the file in the folder that says what it was made from.
    """

    command: str
    verb: str
    manifest: str


PREPARE = Maker("rxf prepare", "prepared", MANIFEST)


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): check the path") from None


def versions() -> dict[str, str]:
    """What the folder was made with, for the manifest."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("rxf", "fairseq", "torch")},
    }


def finished_manifest(
    out: Path, inputs: dict[str, Any], overwrite: bool = False, maker: Maker = PREPARE
) -> Optional[dict[str, Any]]:
    """The manifest of ``out`` if it was made from these ``inputs``, None if it is to be made.

    Says so where nothing is to be done.  Raises if ``out`` holds anything else that would
    be lost.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    manifest = _read_manifest(out, maker)
    if overwrite:
        _refuse_strangers(out, manifest, maker)
        return None
    if _sizes(out, manifest["files"]) != manifest["files"]:
        raise UserError(f"OUT {out}: a file was changed or is gone: give --overwrite")
    if manifest["inputs"] != inputs:
        differing = sorted(
            key
            for key in manifest["inputs"].keys() | inputs.keys()
            if manifest["inputs"].get(key) != inputs.get(key)
        )
        raise UserError(
            f"OUT {out} was {maker.verb} from other files ({', '.join(differing)}): "
            "give another OUT or --overwrite"
        )
    print(f"{out} is already {maker.verb} from these files: nothing to do")
    return manifest


def dropped_notes(reasons: list[str], kind: str) -> Iterator[str]:
    """Lines for a person on the rows that were left out, and why; none if there are none."""
    if reasons:
        yield f"dropped {len(reasons)} {kind}:"
    yield from (f"  {reason}" for reason in reasons[:SHOWN_DROPS])
    if len(reasons) > SHOWN_DROPS:
        yield f"  and {len(reasons) - SHOWN_DROPS} more, all in {MANIFEST}"


@contextmanager
def staged(out: Path, maker: Maker = PREPARE) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder to fill and a manifest to complete; both become ``out`` if all goes well."""
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    manifest: dict[str, Any] = {}
    try:
        partial.mkdir(parents=True)
        yield partial, manifest
        manifest["files"] = _sizes(partial, _files(partial))
        written = json.dumps(manifest, indent=2) + "\n"
        (partial / maker.manifest).write_text(written, encoding="utf-8")
        _publish(partial, out)
    except OSError as error:
        raise UserError(
            f"OUT {out}: cannot be written ({error.strerror}): choose a folder that can"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _read_manifest(out: Path, maker: Maker) -> dict[str, Any]:
    try:
        manifest = json.loads((out / maker.manifest).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = None
    if not isinstance(manifest, dict) or not {"files", "inputs"} <= manifest.keys():
        raise UserError(
            f"OUT {out} exists and was not made by {maker.command}: choose another folder"
        )
    return manifest


def _refuse_strangers(out: Path, manifest: dict[str, Any], maker: Maker) -> None:
    """Checkpoints that someone put there must not vanish with the old data."""
    strangers = sorted(set(_files(out)) - set(manifest["files"]) - {maker.manifest})
    if strangers:
        raise UserError(
            f"OUT {out} holds {strangers[0]}, which {maker.command} did not write: "
            "move it away before --overwrite"
        )


def _files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _sizes(folder: Path, names: Any) -> dict[str, int]:
    present = (name for name in names if (folder / name).is_file())
    return {name: (folder / name).stat().st_size for name in present}


def _publish(partial: Path, out: Path) -> None:
    replaced = out.parent / f".{out.name}.replaced-{os.getpid()}"
    if out.exists():
        os.rename(out, replaced)
    os.rename(partial, out)
    shutil.rmtree(replaced, ignore_errors=True)
