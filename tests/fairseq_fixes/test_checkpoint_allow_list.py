"""The allow-list reads what fairseq writes, and refuses all else before any of it runs."""

import argparse
import base64
import collections
import io
import os
import pickle
import subprocess
import sys
import tarfile
import typing
import zlib
from pathlib import Path
from typing import Any, Callable

import numpy
import pytest
import torch
from fairseq.logging import meters
from omegaconf import DictConfig, IntegerNode, ListConfig, OmegaConf

from rxf.fairseq_fixes.checkpoint_allow_list import CheckpointRefused, allowed_names, load
from tests import support

# pickle.dumps of a DictConfig, written by omegaconf 2.0.6:
# {"a": 1, "b": [1, 2.0, None, True, "x"], "c": {"d": "${a}"}, "n": None}
OMEGACONF_2_0 = (
    "c-noFJ#X7E5Qe4rn{k~qZ9eA?$&%lYq5(Rj)zC>xA&?a9Q%h5(L<Thq0m)FnKf6atMP$d7rlWB0y$|1$o(_1v6bs"
    "68HNQ<WZd{Qq$UT;y>QV<c&pNEG<4F(%$x;}aQbToH$Y?1Dwi}u$QG9J$i0<7yqi&44Ld+AhUJ2djNy2O<O{S8BI"
    "7gxf@gcV4?1$i{?ixm3m9I>eD=PJ96Zi1^Q>^tkiU(NEC0&$yQpH0&l%}xUY|41%t;$?JiX!2ZgV2QYTuPjblS-0"
    "`IknQ%zK1aQ^UWLK;M#Z^#Zx>BDV9PtFmEEu;*q=jiWc}*&uY2^?{3`r2rn7p3#yM>p{P6+CHbh<5f((hby>ix)L"
    "z0m@eO^Bo|#%WA<^$(7{O=*V>pIM1q3{@WiW#<?mLD@Oy~VWh=h)S>C={h%*ucJ{DNh(Pu%92BY|FR2xzjk6elCK"
    ">uJjsrrTXPLW0Z2!NAe?YiO<rCoh9*`iEeb{tP^Hha}u1`Ft1DPp9%=k2301^!6w=or?Y*h2Ow0%S5vbuFt{!I~T"
    "iYH!D5g3O8zHS$Tb`FaJ*fm%9WPNZ>w+55H+;S=m4+ebq7K>eW}}qq3IW{snVbGpq"
)


def legacy_file(pickled: bytes) -> io.BytesIO:
    """The format of torch before 1.6, without tensors: header pickles, the object, no keys."""
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [*(pickle.dumps(part, protocol=2) for part in header), pickled, pickle.dumps([], 2)]
    return io.BytesIO(b"".join(parts))


def through_file(value: Any, rename: tuple[str, str] = ("", "")) -> Any:
    """``value`` read from a file in which one module is known under another name."""
    old, new = (f"c{name}\n".encode() for name in rename)
    return load(legacy_file(pickle.dumps(value, protocol=2).replace(old, new)))


class Carrier:
    """Runs ``function(*args)`` in a reader that trusts its file."""

    def __init__(self, function: Callable, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable, tuple]:
        return self.call


# -------------------------------------------------------------------- what is read


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_namespaces_and_tensors_in_both_file_formats(tmp_path: Path, zipped: bool) -> None:
    state = {
        "args": argparse.Namespace(arch="roberta_base", nested=argparse.Namespace(lr=[1e-5])),
        "model": collections.OrderedDict(weight=torch.arange(6.0).view(2, 3).half()),
    }
    torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)

    read = load(tmp_path / "model.pt", map_location="cpu")

    assert read["args"] == state["args"]
    assert torch.equal(read["model"]["weight"], state["model"]["weight"])


@pytest.mark.parametrize("module", ["fairseq.logging.meters", "fairseq.meters"])
@pytest.mark.parametrize(
    "kind", [meters.AverageMeter, meters.SumMeter, meters.StopwatchMeter, meters.TimeMeter]
)
def test_meters_under_their_old_and_new_module(kind: type, module: str) -> None:
    meter = kind()
    if kind is not meters.StopwatchMeter:
        meter.update(3)

    read = through_file({"train_loss": meter}, rename=("fairseq.logging.meters", module))

    assert type(read["train_loss"]) is kind
    assert vars(read["train_loss"]) == vars(meter)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
@pytest.mark.parametrize(
    "value",
    [
        numpy.float64(97.25),
        numpy.float32(-0.5),
        numpy.float16(2),
        numpy.int64(-7),
        numpy.uint8(200),
        numpy.bool_(True),
        numpy.complex64(1 + 2j),
        numpy.dtype(">i4").type(5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numpy_numbers_under_their_numpy_1_and_2_names(value: Any, module: str) -> None:
    written_as = type(value).__reduce__(value)[0].__module__

    read = through_file({"best": value}, rename=(written_as, module))["best"]

    assert type(read) is type(value)
    assert read == value


def test_a_config_of_this_omegaconf() -> None:
    config = OmegaConf.create({"task": {"data": "x"}, "lr": [1e-5], "where": "${task.data}"})
    config.typed = IntegerNode(3)

    read = through_file({"cfg": config})["cfg"]

    assert type(read) is DictConfig
    assert type(read.lr) is ListConfig
    assert read == config
    assert read.where == "x"


def test_a_config_of_omegaconf_2_0_can_be_used() -> None:
    config = load(legacy_file(zlib.decompress(base64.b85decode(OMEGACONF_2_0))))

    assert config == {"a": 1, "b": [1, 2.0, None, True, "x"], "c": {"d": 1}, "n": None}
    assert OmegaConf.is_struct(config)
    assert config._metadata.element_type is typing.Any


def test_what_rank_0_sends_to_the_others() -> None:
    from fairseq.distributed.utils import _TensorPlaceholder

    sent = io.BytesIO()
    torch.save({"weight": _TensorPlaceholder(index=4)}, sent)
    sent.seek(0)

    assert load(sent, map_location="cpu") == {"weight": _TensorPlaceholder(index=4)}


def test_a_real_pre_trained_file(shared_models: Path) -> None:
    state = load(shared_models / "roberta_mini" / "model.pt", map_location="cpu")

    assert isinstance(state["cfg"]["model"], argparse.Namespace)
    assert all(torch.is_tensor(weight) for weight in state["model"].values())


def test_a_file_of_this_fairseq(sentence_data: Path, tmp_path: Path) -> None:
    flags = support.train_flags(sentence_data, tmp_path, max_update=1)
    support.run_fairseq_train(*flags)

    state = load(tmp_path / "checkpoint_last.pt", map_location="cpu")

    assert state["cfg"]["model"].arch == "roberta"
    assert state["optimizer_history"][-1]["num_updates"] == 1


def test_what_the_user_allowed_stays_allowed_and_nothing_is_added() -> None:
    mine = [Carrier, argparse.Namespace]
    before = list(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals(mine)
    try:
        through_file(argparse.Namespace(a=1))
        assert set(torch.serialization.get_safe_globals()) == {*before, *mine}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


# ----------------------------------------------------------------- what is refused


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "function, further",
    [(os.mkdir, []), (open, ["w"]), (io.FileIO, ["w"])],
    ids=["mkdir", "open", "FileIO"],
)
def test_code_in_a_file_does_not_run(
    tmp_path: Path, function: Callable, further: list[str], zipped: bool
) -> None:
    trap = tmp_path / "ran"
    carrier = Carrier(function, str(trap), *further)
    state = {"args": argparse.Namespace(hidden=[carrier]), "model": {"w": torch.zeros(2)}}
    torch.save(state, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)

    with pytest.raises(CheckpointRefused, match=r"it names \S+, which no checkpoint") as refused:
        load(tmp_path / "model.pt", map_location="cpu")

    assert "\n" not in str(refused.value)
    assert not trap.exists()
    # The proof that the trap works.
    pickle.loads(pickle.dumps(carrier))
    assert trap.exists()


@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__, subprocess.run])
def test_functions_that_run_code_are_named(function: Callable) -> None:
    with pytest.raises(CheckpointRefused, match=function.__name__):
        through_file(Carrier(function, "exit"))


@pytest.mark.parametrize(
    "code, flags", [("O", 0), ("f8", 63), ("V8", 0)], ids=["object", "flagged float", "void"]
)
def test_bytes_of_a_file_become_no_pointers_of_numpy(code: str, flags: int) -> None:
    dtype = Carrier(numpy.dtype, code, False, True)
    dtype.call += ((3, "|", None, None, None, -1, -1, flags),)  # type: ignore[assignment]
    scalar = numpy.float64(0).__reduce__()[0]
    # A float keeps its letter code alone; the other types are refused.
    if code == "f8":
        assert through_file(Carrier(scalar, dtype, b"\0" * 8)) == 0.0
        return
    with pytest.raises(CheckpointRefused, match="numpy value of type"):
        through_file(Carrier(scalar, dtype, b"\0" * 8))


def test_arrays_are_refused_as_their_state_is_raw_memory() -> None:
    with pytest.raises(CheckpointRefused, match="multiarray._reconstruct"):
        through_file({"a": numpy.zeros(3)})


def test_nothing_on_the_list_reaches_code_by_its_name() -> None:
    modules = {name.rsplit(".", 1)[0] for name in allowed_names()}
    known = {"argparse", "builtins", "collections", "typing", "fairseq", "omegaconf", "numpy"}
    assert {module.split(".")[0] for module in modules} == known


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_file_that_was_cut_short(tmp_path: Path, zipped: bool) -> None:
    whole = tmp_path / "whole.pt"
    torch.save({"w": torch.zeros(1000)}, whole, _use_new_zipfile_serialization=zipped)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:2000])

    with pytest.raises(CheckpointRefused, match="damaged, cut short or no checkpoint at all"):
        load(cut)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 2000, b"sentence1\tsentence2\n", bytes(range(256)), b"PK\x03\x04", b"\x80\x02}r"],
    ids=["empty", "zeros", "text", "bytes", "zip magic", "pickle start"],
)
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)

    with pytest.raises(CheckpointRefused) as refused:
        load(tmp_path / "model.pt")

    assert "\n" not in str(refused.value)


def test_formats_that_older_torch_reads_without_the_list(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    with pytest.raises(CheckpointRefused, match="a tar archive"):
        load(tmp_path / "old.tar")

    with torch.serialization._open_zipfile_writer(str(tmp_path / "script.pt")) as writer:
        writer.write_record("constants.pkl", b"", 0)
    with pytest.raises(CheckpointRefused, match="a TorchScript archive"):
        load(tmp_path / "script.pt")


def test_a_file_that_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.pt")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)


def test_the_wheel_reads_by_the_same_list_without_a_plugin(tmp_path: Path) -> None:
    copy = pytest.importorskip(
        "fairseq.rxf_checkpoint_allow_list", reason="fairseq is not the wheel of this project"
    )
    ours = sys.modules[load.__module__]
    assert Path(copy.__file__).read_text() == Path(ours.__file__ or "").read_text()

    torch.save({"args": Carrier(os.mkdir, str(tmp_path / "ran"))}, tmp_path / "model.pt")
    code = "from fairseq.checkpoint_utils import *; load_checkpoint_to_cpu('model.pt')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "CheckpointRefused: it names" in done.stderr
    assert done.returncode == 1
    assert not (tmp_path / "ran").exists()
