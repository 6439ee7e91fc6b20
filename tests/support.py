"""What the tests share: tiny data, a tiny pre-trained model, and ways to run fairseq-train."""

import importlib
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import torch

REPO = Path(__file__).resolve().parent.parent
HEAD = "sentence_classification_head"

# A RoBERTa small enough that an update takes some milliseconds.
TINY_ROBERTA = [
    *["--arch", "roberta", "--encoder-layers", "2", "--encoder-embed-dim", "16"],
    *["--encoder-ffn-embed-dim", "32", "--encoder-attention-heads", "2"],
    *["--max-positions", "64"],
]
# An encoder-decoder of that size.
TINY_SEQ2SEQ = {
    **dict.fromkeys(["encoder_layers", "encoder_attention_heads"], 2),
    **dict.fromkeys(["encoder_embed_dim", "decoder_embed_dim"], 16),
    **dict.fromkeys(["encoder_ffn_embed_dim", "decoder_ffn_embed_dim"], 32),
    **dict.fromkeys(["max_source_positions", "max_target_positions"], 64),
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
}
STILL = {"dropout": 0.0, "attention_dropout": 0.0}
RANKS: dict[str, dict[str, Any]] = {
    "legacy_ddp": {"ddp_backend": "legacy_ddp"},
    "pytorch_ddp": {"ddp_backend": "pytorch_ddp", "find_unused_parameters": True},
}

# The last one is saved by sinusoidal positions: a dtype, with what stood in memory before.
_UNUSED = re.compile(r"\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$|\._float_tensor$")
_WORDS = [f"w{number:02d}" for number in range(40)]


# --------------------------------------------------------------------------- data


def write_sentence_data(
    folder: Path,
    rows: Union[int, Mapping[str, int]] = 64,
    classes: int = 2,
    seed: int = 1,
    pair: bool = False,
    regression: bool = False,
    labels: Optional[Sequence[str]] = None,
) -> Path:
    """A sentence-prediction data set in fairseq's binary form that a model can learn.

    Args:
        folder: where it goes; made if it is not there.
        rows: rows per split, or of the training split alone (``valid`` then has 24).
        classes: labels "0", "1", ... (unused for regression).
        seed: of the sentences.
        pair: write ``input1`` as well.
        regression: write floats from 0 to 5 to ``label/SPLIT.label``.
        labels: the names in the label dictionary's order, where it matters that a
            class index is not the label.

    Returns:
        ``folder``.
    """
    sides = ["input0", "input1"] if pair else ["input0"]
    names = list(labels) if labels else [str(index) for index in range(classes)]
    words = _dictionary(_WORDS, [folder / side for side in sides])
    label_dictionary = _dictionary(names, [] if regression else [folder / "label"])
    (folder / "label").mkdir(exist_ok=True)

    source = random.Random(seed)
    splits = {"train": rows, "valid": 24} if isinstance(rows, int) else rows
    for split, count in splits.items():
        kinds = [source.randrange(len(names)) for _ in range(count)]
        for side in sides:
            sentences = [_sentence(source, kind, len(names)) for kind in kinds]
            _write_binary(folder / side / split, words, sentences)
        if regression:
            floats = [5 * (kind + source.random()) / len(names) for kind in kinds]
            text = "".join(f"{value:.5f}\n" for value in floats)
            (folder / "label" / f"{split}.label").write_text(text)
        else:
            chosen = [[names[kind]] for kind in kinds]
            _write_binary(folder / "label" / split, label_dictionary, chosen)
    return folder


def write_translation_data(
    folder: Path,
    rows: Union[int, Mapping[str, int]] = 64,
    words: Sequence[str] = _WORDS,
    seed: int = 1,
) -> Path:
    """Pairs in fairseq's binary form that a model can learn: word by word, always the same.

    Args:
        folder: where it goes; made if it is not there.
        rows: pairs per split, or of the training split alone (``valid`` then has 24).
        words: that sentences of 1 to 9 words are made of, one dictionary for both sides;
            each is translated by the next one.
        seed: of the sentences.

    Returns:
        ``folder``.
    """
    dictionary = _dictionary(words, [])
    folder.mkdir(parents=True, exist_ok=True)
    for side in ("source", "target"):
        dictionary.save(str(folder / f"dict.{side}.txt"))

    source = random.Random(seed)
    translation = dict(zip(words, [*words[1:], words[0]], strict=True))
    splits = {"train": rows, "valid": 24} if isinstance(rows, int) else rows
    for split, count in splits.items():
        sentences = [source.choices(words, k=source.randint(1, 9)) for _ in range(count)]
        translated = [[translation[word] for word in sentence] for sentence in sentences]
        prefix = f"{split}.source-target"
        _write_binary(folder / f"{prefix}.source", dictionary, sentences)
        _write_binary(folder / f"{prefix}.target", dictionary, translated)
    return folder


def _dictionary(symbols: Sequence[str], folders: list[Path]) -> Any:
    """A dictionary of ``symbols``, saved in each of the folders."""
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        dictionary.save(str(folder / "dict.txt"))
    return dictionary


def _sentence(source: random.Random, kind: int, kinds: int) -> list[str]:
    """A sentence whose words give its class away in three cases of four."""
    filler = source.choices(_WORDS[kinds:], k=source.randint(3, 12))
    told = kind if source.random() < 0.75 else source.randrange(kinds)
    filler.insert(source.randrange(len(filler)), _WORDS[told])
    return filler


def _write_binary(path: Path, dictionary: Any, lines: list[list[str]]) -> None:
    from fairseq.data import indexed_dataset

    builder = indexed_dataset.make_builder(f"{path}.bin", impl="mmap", vocab_size=len(dictionary))
    for line in lines:
        ids = [dictionary.index(word) for word in line] + [dictionary.eos()]
        builder.add_item(torch.tensor(ids, dtype=torch.int32))
    builder.finalize(f"{path}.idx")


# -------------------------------------------------------------------------- flags


def train_flags(data: Path, save_dir: Path, **overrides: Any) -> list[str]:
    """Flags of a short CPU fine-tuning with fairseq's own criterion.

    Args:
        data: of :func:`write_sentence_data`; the flags for classes or regression follow it.
        save_dir: for checkpoints.
        overrides: ``max_update=8`` for ``--max-update 8``; True is a flag without value,
            None or False takes a default away.
    """
    values = {
        **_short_training(save_dir),
        "task": "sentence_prediction",
        "criterion": "sentence_prediction",
        "classification_head_name": HEAD,
        "init_token": 0,
        "separator_token": 2,
        **_label_flags(data),
        **overrides,
    }
    return [str(data), *TINY_ROBERTA, *_spelt_out(values)]


def translation_flags(data: Path, save_dir: Path, **overrides: Any) -> list[str]:
    """Flags of a short CPU training with fairseq's own criterion for generation.

    Args:
        data: of :func:`write_translation_data`.
        save_dir: for checkpoints.
        overrides: as for :func:`train_flags`; ``arch`` is a transformer, or BART or mBART
            with ``bart_base`` and ``mbart_base``, in the same tiny size.
    """
    values = {
        **_short_training(save_dir),
        "task": "translation",
        "arch": "transformer",
        **TINY_SEQ2SEQ,
        "criterion": "label_smoothed_cross_entropy",
        "label_smoothing": 0.1,
        **overrides,
    }
    return [str(data), *_spelt_out(values)]


def _short_training(save_dir: Path) -> dict[str, Any]:
    return {
        "user_dir": REPO / "rxf",
        "batch_size": 8,
        "required_batch_size_multiple": 1,
        "num_workers": 0,
        "optimizer": "adam",
        "lr": 1e-3,
        "lr_scheduler": "fixed",
        "max_update": 4,
        "save_dir": save_dir,
        "no_epoch_checkpoints": True,
        "disable_validation": True,
        "cpu": True,
        "log_format": "json",
        "log_interval": 1,
    }


def _spelt_out(values: Mapping[str, Any]) -> list[str]:
    flags = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        flags.append("--" + name.replace("_", "-"))
        if value is not True:
            flags.append(str(value))
    return flags


def _label_flags(data: Path) -> dict[str, Any]:
    names = data / "label" / "dict.txt"
    if not names.exists():
        return {"num_classes": 1, "regression_target": True}
    return {"num_classes": len(names.read_text().splitlines())}


# --------------------------------------------------------------------- in process


def build_from_flags(flags: Sequence[str], seed: int = 1) -> tuple[Any, Any, Any, Any]:
    """Configuration, task, model and criterion as fairseq-train builds them from ``flags``."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    import rxf  # noqa: F401  (the flags below are known only once it is imported)

    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, input_args=list(flags))
    cfg = convert_namespace_to_omegaconf(args)
    torch.manual_seed(seed)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    criterion = task.build_criterion(cfg.criterion)
    return cfg, task, model, criterion


def first_batch(task: Any, split: str = "train", size: int = 8) -> dict[str, Any]:
    """The first ``size`` rows of a split, collated; the rows are in a fixed order."""
    if split not in task.datasets:
        task.load_dataset(split)
    batches = task.get_batch_iterator(
        task.dataset(split), max_sentences=size, required_batch_size_multiple=1
    )
    return next(iter(batches.next_epoch_itr(shuffle=False)))


def save_pretrained(folder: Path, data: Path, seed: int = 7, extra: Sequence[str] = ()) -> Path:
    """A randomly initialised tiny RoBERTa as a file that fairseq could have pre-trained.

    It has no classification head, and none of the stale copies that fairseq 0.12.2
    adds when it saves, like the files that the RoBERTa authors publish.

    Args:
        folder: where ``model.pt`` goes.
        data: of :func:`write_sentence_data`, for the dictionary.
        seed: of the weights.
        extra: flags after :data:`TINY_ROBERTA`.
    """
    flags = [*train_flags(data, folder), *extra]
    _, _, model, _ = build_from_flags(flags, seed=seed)
    weights = used_parameters(model.state_dict())
    weights = {k: v for k, v in weights.items() if not k.startswith("classification_heads.")}
    settings = {**vars(model.args), "task": "masked_lm", "criterion": "masked_lm"}
    for name in ("user_dir", "classification_head_name", "regression_target", "num_classes"):
        settings.pop(name, None)
    history = {
        "criterion_name": "MaskedLmLoss",
        "optimizer_name": "FairseqAdam",
        "lr_scheduler_state": {"best": None},
        "num_updates": 10,
    }
    state = {
        "args": Namespace(**settings),
        "model": weights,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": 1.0},
        "last_optimizer_state": None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "model.pt")
    return folder / "model.pt"


def stock(function: Any) -> Any:
    """What fairseq had in place of a function before any fix wrapped it."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


# ------------------------------------------------------------------- subprocesses


def run_fairseq_train(
    *args: object,
    nproc: int = 1,
    env: Optional[Mapping[str, str]] = None,
    check: bool = True,
    command: str = "fairseq-train",
    cwd: Optional[Path] = None,
    timeout: float = 300,
) -> "subprocess.CompletedProcess[str]":
    """Run the console command as a user does, under torchrun when ``nproc`` > 1.

    Args:
        args: its command line.
        nproc: processes on this machine; the flags of CPU training are the caller's.
        env: added to this process's environment.
        check: an exit status other than 0 is an ``AssertionError`` with the last output.
        command: another of fairseq's console commands.
        cwd: the folder to run in, the repo's root by default.
        timeout: seconds.
    """
    script = str(Path(sys.executable).parent / command)
    launcher = [sys.executable]
    if nproc > 1:
        launcher += ["-m", "torch.distributed.run", "--nproc_per_node", str(nproc)]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launcher, script, *map(str, args)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **(env or {})},
        cwd=cwd or REPO,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check:
        _check(done, command)
    return done


def fork_fairseq_train(
    *args: object,
    env: Optional[Mapping[str, str]] = None,
    check: bool = True,
    command: str = "fairseq-train",
    cwd: Optional[Path] = None,
    timeout: float = 300,
) -> "subprocess.CompletedProcess[str]":
    """As :func:`run_fairseq_train` in one process, but in half a second instead of four.

    The process is forked from one that has imported fairseq and nothing of rxf, so the
    plugin is imported anew, under the ``RXF_FIXES`` of ``env``.
    """
    words = [command, *map(str, args)]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = begin_fairseq(words, out, err, env=env, cwd=cwd)
        process.join(timeout)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        done = subprocess.CompletedProcess(
            words, process.exitcode or 0, out.read_text(), err.read_text()
        )
    if check:
        _check(done, command)
    return done


def begin_fairseq(
    words: list[str],
    out: Path,
    err: Path,
    env: Optional[Mapping[str, str]] = None,
    cwd: Optional[Path] = None,
) -> Any:
    """Start one of fairseq's commands as :func:`fork_fairseq_train` does, and do not wait.

    Args:
        words: the command's name and its command line.
        out: gets what it prints; a file that is there is written over.
        err: likewise, of its errors.
        env: added to this process's environment.
        cwd: the folder to run in, the repo's root by default.

    Returns:
        The process: ``pid``, ``exitcode``, ``join(timeout)``, ``kill()``.
    """
    context = multiprocessing.get_context("forkserver")
    # torch._dynamo comes with the first optimizer, and takes a second.
    preload = ["fairseq_cli.train", "fairseq_cli.validate", "torch._dynamo"]
    context.set_forkserver_preload(preload)
    variables = {"RXF_FIXES": os.environ.get("RXF_FIXES", ""), **(env or {})}
    target_args = (words, variables, cwd or REPO, out, err)
    process = context.Process(target=_forked, args=target_args)
    process.start()
    return process


def _forked(words: list[str], env: Mapping[str, str], cwd: Path, out: Path, err: Path) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = words
    torch.set_num_threads(1)
    # The way in which this process was started is handed down as the default; data loaders
    # would start a server of their own by it, which nothing ends.
    multiprocessing.set_start_method("fork", force=True)
    module = words[0].removeprefix("fairseq-").replace("-", "_")
    status = 0
    try:
        importlib.import_module(f"fairseq_cli.{module}").cli_main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def two_ranks_and_one(
    flags: Callable[..., list[str]], data: Path, folder: Path, **settings: Any
) -> list["subprocess.CompletedProcess[str]"]:
    """Two processes, and one that accumulates two batches: the same rows per update.

    Args:
        flags: :func:`train_flags` or :func:`translation_flags`.
        data: what they take.
        folder: the checkpoints come into ``one`` and ``two`` below it.
        settings: what these flags are to say, those of :data:`RANKS` among them.

    Returns:
        The run of one process and the run of two.
    """
    settings = {"batch_size": 4, "max_update": 4, "disable_validation": None, **STILL, **settings}
    alone = {k: v for k, v in settings.items() if k not in RANKS["pytorch_ddp"]}
    one = fork_fairseq_train(*flags(data, folder / "one", update_freq=2, **alone))
    together = flags(data, folder / "two", distributed_backend="gloo", **settings)
    return [one, run_fairseq_train(*together, nproc=2)]


def _check(done: "subprocess.CompletedProcess[str]", command: str) -> None:
    if done.returncode != 0:
        raise AssertionError(
            f"{command} ended with {done.returncode}\n"
            f"stdout: ...{done.stdout[-3000:]}\nstderr: ...{done.stderr[-5000:]}"
        )


def train_log(stdout: str) -> list[dict[str, Any]]:
    """The JSON lines that ``--log-format json`` prints, with their ``tag``, numbers as numbers.

    Tags are ``train_inner`` (every update), ``train`` (end of an epoch) and the name
    of the validation subset, whose keys start with it (``valid_loss``).
    """
    entries = []
    for line in stdout.splitlines():
        found = re.search(r"\| (\w+) \| (\{.*\})$", line)
        if found:
            entry = {key: _number(value) for key, value in json.loads(found[2]).items()}
            entries.append({"tag": found[1], **entry})
    return entries


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


# -------------------------------------------------------------------- checkpoints


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """Everything that the file holds, read by the allow-list."""
    from rxf.fairseq_fixes.checkpoint_allow_list import load

    return load(checkpoint, map_location="cpu")


def load_model_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by name."""
    return load_checkpoint(checkpoint)["model"]


def trained_weights(save_dir: Path, name: str = "checkpoint_last.pt") -> dict[str, torch.Tensor]:
    """What a training came to: :func:`used_parameters` of its checkpoint."""
    return used_parameters(load_model_state(save_dir / name))


def assert_bit_equal(got: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    assert got.keys() == wanted.keys()
    differing = [name for name in wanted if not torch.equal(got[name], wanted[name])]
    assert not differing


def assert_close(
    got: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, rtol=rtol, atol=atol, msg=name)


def used_parameters(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """``state`` without what no forward reads, mostly copies of q/k/v/fc (stale_copies.py)."""
    return {key: value for key, value in state.items() if not _UNUSED.search(key)}
