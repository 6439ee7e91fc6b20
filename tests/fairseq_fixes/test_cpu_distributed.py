"""Several processes on CPU."""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import models
from fairseq.distributed import utils as distributed_utils
from torch import distributed, nn

from rxf.errors import UserError
from tests.support import (
    REPO,
    build_from_flags,
    load_checkpoint,
    run_fairseq_train,
    stock,
    train_flags,
    train_log,
)

GLOO = ["--distributed-backend", "gloo", "--find-unused-parameters"]


@pytest.fixture
def one_process_group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0
    )
    yield
    distributed.destroy_process_group()
    vars(distributed_utils.get_global_group).pop("_global_group", None)
    for name in ("_buffer", "_cpu_buffer"):
        vars(distributed_utils.all_gather_list).pop(name, None)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


def _wrapped(ddp_backend: str) -> Any:
    settings = Namespace(
        tpu=False,
        ddp_backend=ddp_backend,
        device_id=1,
        broadcast_buffers=False,
        bucket_cap_mb=25,
        find_unused_parameters=False,
        gradient_as_bucket_view=False,
        ddp_comm_hook="none",
        heartbeat_timeout=-1,
    )
    return models.DistributedFairseqModel(
        settings, nn.Linear(2, 2), process_group=None, device=torch.device("cpu")
    )


@pytest.mark.usefixtures("one_process_group")
def test_torch_ddp_wraps_a_cpu_module(monkeypatch: pytest.MonkeyPatch) -> None:
    _wrapped("pytorch_ddp")(torch.ones(1, 2)).sum().backward()
    from fairseq.models import distributed_fairseq_model

    monkeypatch.setattr(
        distributed_fairseq_model, "DistributedDataParallel", nn.parallel.DistributedDataParallel
    )
    with pytest.raises(ValueError, match="device_ids"):
        _wrapped("pytorch_ddp")


@pytest.mark.usefixtures("one_process_group", "no_cuda")
def test_log_output_is_gathered_on_cpu() -> None:
    data = [{"loss": torch.tensor(1.5)}]
    with pytest.raises((AttributeError, RuntimeError, TypeError)):
        stock(distributed_utils.all_gather_list)(data)
    assert distributed_utils.all_gather_list(data)[0][0]["loss"] == 1.5
    # A second, larger request gets a larger buffer.
    assert len(distributed_utils.all_gather_list(["x" * 20000], max_size=40000)[0][0]) == 20000


@pytest.mark.usefixtures("no_cuda")
def test_nccl_on_cpu_is_one_clear_line(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(sentence_data, tmp_path, distributed_world_size=2)
    cfg = build_from_flags(flags)[0]
    with pytest.raises(UserError, match="--distributed-backend nccl needs GPUs"):
        distributed_utils.call_main(cfg, lambda cfg: None)


@pytest.mark.usefixtures("no_cuda")
def test_one_process_starts_no_other(tmp_path: Path, sentence_data: Path) -> None:
    called: list[Any] = []
    cfg = build_from_flags(train_flags(sentence_data, tmp_path))[0]
    distributed_utils.call_main(cfg, called.append)
    assert called == [cfg]


def test_two_processes_train(tmp_path: Path, sentence_data: Path, pretrained: Path) -> None:
    # The file holds an argparse.Namespace, which rank 0 sends to rank 1.
    flags = train_flags(
        sentence_data,
        tmp_path,
        ddp_backend="legacy_ddp",
        finetune_from_model=pretrained,
        disable_validation=False,
    )
    done = run_fairseq_train(*flags, *GLOO, nproc=2)
    updates = [entry for entry in train_log(done.stdout) if entry["tag"] == "train_inner"]
    assert [entry["bsz"] for entry in updates] == [16.0] * 4
    assert load_checkpoint(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["pytorch_ddp", "c10d"])
def test_torch_ddp_trains(
    backend: str, tmp_path: Path, sentence_data: Path, pretrained: Path
) -> None:
    flags = train_flags(
        sentence_data, tmp_path, ddp_backend=backend, finetune_from_model=pretrained
    )
    run_fairseq_train(*flags, *GLOO, nproc=2)
    off = {"RXF_FIXES": "cpu-distributed"}
    done = run_fairseq_train(*flags, *GLOO, nproc=2, env=off, check=False)
    assert done.returncode != 0 and "device_ids" in done.stderr


@pytest.mark.slow
def test_fairseq_starts_the_processes_itself(tmp_path: Path, sentence_data: Path) -> None:
    flags = train_flags(
        sentence_data,
        tmp_path,
        user_dir="rxf",
        ddp_backend="legacy_ddp",
        distributed_world_size=2,
    )
    done = run_fairseq_train(*flags, *GLOO)
    assert train_log(done.stdout)[0]["bsz"] == 16.0
    # A bad flag that a process finds is one line of the parent's.
    done = run_fairseq_train(*flags, *GLOO, "--restore-file", "no.pt", check=False)
    assert "rxf: error: --restore-file no.pt does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    off = {"RXF_FIXES": "cpu-distributed"}
    done = run_fairseq_train(*flags, *GLOO, env=off, check=False)
    assert done.returncode != 0 and "available devices" in done.stderr


def _leave(rank: int, folder: str) -> None:
    from rxf.fairseq_fixes import cpu_distributed

    cpu_distributed._leave_gloo()  # nothing to leave yet
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=1)
    cpu_distributed._leave_gloo()
    Path(folder, "left").write_text(str(not torch.distributed.is_initialized()))


def test_gloo_is_left_before_the_interpreter_ends(tmp_path: Path) -> None:
    """Else about one run in thirty aborts while it exits, too rare to test in full."""
    torch.multiprocessing.spawn(_leave, (str(tmp_path),), nprocs=1)
    assert (tmp_path / "left").read_text() == "True"


def test_no_thread_of_gloo_is_left_at_exit(tmp_path: Path) -> None:
    """One that is left may free a tensor when the interpreter is gone, and abort."""
    program = f"""
import os
import torch.distributed as dist
import rxf
from fairseq.distributed import utils
from rxf.fairseq_fixes import cpu_distributed

before = len(os.listdir("/proc/self/task"))
dist.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=0, world_size=1)
dist.barrier(utils.get_global_group())
assert len(os.listdir("/proc/self/task")) > before
cpu_distributed._leave_gloo()
assert len(os.listdir("/proc/self/task")) == before
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-1000:]
