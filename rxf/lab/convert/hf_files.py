"""A folder as `save_pretrained` writes it: config.json, weights in one file or several."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rxf.errors import UserError

__all__ = ["new_folder", "read_config", "read_json_object", "read_weights", "write_model"]

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
# In the order in which they are looked for.
WEIGHTS = (
    *(SAFETENSORS, f"{SAFETENSORS}.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json.

    Raises:
        UserError: ``folder`` is no folder of a model, or the file cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"MODEL_DIR {folder}: there is no such folder: give one of save_pretrained")
    return read_json_object(folder / CONFIG)


def read_json_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises:
        UserError: there is no such file, or it holds anything but an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: there is no such file, and it is needed") from None
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error}): copy it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no JSON object: copy it again")
    return content


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the model, on the CPU, in the dtype of the file.

    Raises:
        UserError: no file of weights, a damaged one, or one of several is missing.
    """
    for name in WEIGHTS:
        path = folder / name
        if not path.is_file():
            continue
        if path.suffix != ".json":
            return _read_file(path)
        parts = sorted(set(read_json_object(path).get("weight_map", {}).values()))
        weights: dict[str, Tensor] = {}
        for part in parts:
            weights |= _read_file(folder / part)
        return weights
    raise UserError(f"MODEL_DIR {folder}: has no weights: {SAFETENSORS} or {WEIGHTS[2]}")


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path}: there is no such file, and the index names it")
    try:
        if path.suffix == ".safetensors":
            return dict(_safetensors().load_file(str(path)))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        # A damaged file may end in any error of either library.
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: cannot be read ({reason}): copy it again") from None


def _safetensors() -> Any:
    try:
        import safetensors.torch as library
    except ImportError:
        raise UserError(
            "rxf convert needs safetensors: pip install safetensors (or rxf[hf])"
        ) from None
    return library


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` if all goes well.

    Raises:
        UserError: ``out`` holds something already, or cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"OUT {out}: exists and is not empty: name a new folder")
    aside = out.parent / f".{out.name}.{os.getpid()}"
    try:
        aside.mkdir(parents=True)
        yield aside
        if out.exists():
            out.rmdir()
        os.rename(aside, out)
    except OSError as error:
        raise UserError(f"OUT {out}: cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_model(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """config.json and model.safetensors.

    Args:
        folder: that is there.
        config: to be written as it is.
        weights: each under one name, as tied tensors have to be.
    """
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    whole = {name: tensor.detach().contiguous().clone() for name, tensor in weights.items()}
    # Without this mark from_pretrained refuses the file.
    _safetensors().save_file(whole, str(folder / SAFETENSORS), metadata={"format": "pt"})
    # The library writes a file for its owner alone.
    (folder / SAFETENSORS).chmod((folder / CONFIG).stat().st_mode)
