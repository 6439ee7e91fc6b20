"""Several processes can train on CPU.

Symptom: with ``--cpu`` and two processes, pytorch_ddp refuses the ``device_ids`` that
fairseq passes for a CPU module; gathering of log output asks for
``torch.cuda.ByteTensor``; and without torchrun fairseq wants a GPU for each process
(fairseq#2879).  And a run that has trained to its end aborts now and then while it exits
("terminate called without an active exception"; measured in about 1 run of 12 on a busy
machine): fairseq ends with a barrier, whose tensor gloo's thread frees when it gets to it,
and if the interpreter is gone by then, that thread takes the process with it.

Why this mends it: a CPU module is wrapped without ``device_ids``, as torch documents;
the gather buffer is a plain byte tensor unless the backend is nccl; and under ``--cpu``
a world larger than the number of GPUs gets as many processes as asked for.  gloo is left
before the interpreter ends, its threads included.  nccl cannot carry CPU tensors: that is
said in one line before anything starts.
"""

import atexit
import gc
import os
import socket
import time
from typing import Any, Callable

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.models import distributed_fairseq_model
from torch.nn.parallel import DistributedDataParallel

from rxf.errors import UserError
from rxf.fairseq_fixes import Fix
from rxf.fairseq_fixes.patching import wrap

# Seconds.
_PAUSE = 0.1


def _apply() -> None:
    distributed_fairseq_model.DistributedDataParallel = _ddp
    wrap(distributed_utils, "all_gather_list", _all_gather_list)
    wrap(distributed_utils, "call_main", _call_main)
    atexit.register(_leave_gloo)


def _leave_gloo() -> None:
    if not torch.distributed.is_initialized() or torch.distributed.get_backend() != "gloo":
        return
    torch.distributed.destroy_process_group()
    # A group's end waits for its threads, but comes only when nothing refers to it any more.
    vars(distributed_utils.get_global_group).pop("_global_group", None)
    gc.collect()
    # For groups that something still refers to: time to free what their last operation held.
    time.sleep(_PAUSE)


def _ddp(module: Any, **settings: Any) -> DistributedDataParallel:
    """torch's class; on CPU without the settings that name a GPU."""
    if all(parameter.device.type == "cpu" for parameter in module.parameters()):
        settings.update(device_ids=None, output_device=None)
    return DistributedDataParallel(module=module, **settings)


def _all_gather_list(
    original: Callable, data: Any, group: Any = None, max_size: int = 16384
) -> list[Any]:
    if torch.distributed.is_initialized():
        _provide_cpu_buffer(group, max_size)
    return original(data, group, max_size)


def _provide_cpu_buffer(group: Any, max_size: int) -> None:
    """Put the buffer in place that fairseq would otherwise allocate on a GPU."""
    group = group or distributed_utils.get_global_group()
    if torch.distributed.get_backend(group) == "nccl":
        return
    # fairseq keeps the buffers as attributes of the function that its module names.
    holder = distributed_utils.all_gather_list
    size = max_size * distributed_utils.get_world_size(group)
    if not hasattr(holder, "_buffer") or holder._buffer.numel() < size:
        holder._buffer = torch.zeros(size, dtype=torch.uint8)
        holder._cpu_buffer = torch.zeros(max_size, dtype=torch.uint8)


def _call_main(original: Callable, cfg: Any, main: Callable, **kwargs: Any) -> None:
    distributed = cfg.distributed_training
    on_cpu = cfg.common.cpu or not torch.cuda.is_available()
    world = int(os.environ["WORLD_SIZE"]) if _launched() else distributed.distributed_world_size
    if on_cpu and world > 1 and distributed.distributed_backend == "nccl":
        raise UserError(
            "--distributed-backend nccl needs GPUs: on CPU use gloo "
            "(or --distributed-world-size 1 for one process)"
        )
    try:
        if on_cpu and world > torch.cuda.device_count() and _must_spawn(distributed):
            _spawn(cfg, main, kwargs)
        else:
            original(cfg, main, **kwargs)
    except torch.multiprocessing.ProcessRaisedException as error:
        _raise_user_error_of(error)
        raise


def _launched() -> bool:
    """Whether torchrun or its like has started the processes."""
    return all(name in os.environ for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"))


def _must_spawn(distributed: Any) -> bool:
    """Whether the processes of one machine are fairseq's to start."""
    return (
        distributed.distributed_world_size > 1
        and distributed.distributed_init_method is None
        and distributed.distributed_port <= 0
        and not distributed.distributed_no_spawn
        and not distributed.tpu
        and not _launched()
    )


def _raise_user_error_of(error: Exception) -> None:
    """The parent gets a child's traceback as text; a :class:`UserError` is its last line."""
    prefix = f"{UserError.__module__}.{UserError.__name__}: "
    for line in str(error).splitlines():
        if line.startswith(prefix):
            raise UserError(line.removeprefix(prefix)) from None


def _spawn(cfg: Any, main: Callable, kwargs: dict[str, Any]) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    distributed = cfg.distributed_training
    distributed.distributed_init_method = f"tcp://localhost:{port}"
    distributed.distributed_rank = None  # each process gets its own
    torch.multiprocessing.spawn(
        fn=distributed_utils.distributed_main,
        args=(main, cfg, {**kwargs, "start_rank": 0}),
        nprocs=distributed.distributed_world_size,
    )


FIX = Fix(
    name="cpu-distributed",
    symptom="several processes on CPU stop with an error about CUDA devices",
    reference="fairseq#2879",
    apply=_apply,
)
