"""The settings of every GLUE recipe: task x method -> value, source, certainty.  Data only.

Scripts, Hydra configs and the table of ``examples/glue/README.md`` are generated from this, by
``python -m rxf.lab.recipes --write``.  What is published stands here as it is published; what
could not be had is None, with the reason, and what the recipe takes in its place is ours.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rxf.lab.recipes.settings import Setting, Source, known, unknown

__all__ = ["METHODS", "PER_TASK", "SHARED", "SOURCES", "GlueMethod"]

Settings = Mapping[str, Setting]
PerTask = Mapping[str, Settings]


class GlueMethod(NamedTuple):
    """What holds for a method on all tasks.

    Attributes:
        model: the model whose settings these are.
        nearest: the architecture of fairseq that is nearest to it.
        summary: what the recipe is, in one line.
    """

    model: str
    nearest: str
    summary: str


METHODS: Mapping[str, GlueMethod] = {
    "plain": GlueMethod("RoBERTa-large", "roberta_large", "fairseq's own fine-tuning of RoBERTa"),
    "r3f": GlueMethod("RoBERTa-large", "roberta_large", "R3F"),
    "r4f": GlueMethod("RoBERTa-large", "roberta_large", "R4F: R3F with a normalised head"),
    "freelb": GlueMethod("RoBERTa-large", "roberta_large", "FreeLB"),
    "recadam": GlueMethod("BERT-base", "roberta_base", "RecAdam from the pre-trained weights"),
    "cwgnc": GlueMethod("BERT-large", "roberta_large", "component-wise clipping of gradients"),
}

SOURCES: Mapping[str, Source] = {
    "RXF": Source("fairseq 0.12.2, README of examples/rxf: its command, for RTE"),
    "CM3": Source(
        "the CM3 paper of R3F's first author (arXiv 2201.07520), tables 11 and 12: GLUE with the "
        "RXF method",
        "read there; that they are R3F's own is likely, not certain",
    ),
    "RoBERTa": Source("fairseq 0.12.2, examples/roberta/config/finetuning"),
    "FreeLB": Source(
        "zhuchen03/FreeLB, commit eb23701, launch scripts of fairseq-RoBERTa; its S climbs are "
        "--freelb-steps S + 1"
    ),
    "RecAdam": Source("Sanyuan-Chen/RecAdam, commit 505ba3c: README"),
    "RecAdam code": Source("the same, run_glue_with_RecAdam.py: defaults"),
    "CWGNC": Source("yangalan123/FineTuningStability, commit a75412a: run.sh"),
    "rxf": Source("what turns the method on here", "no setting of a paper"),
}


def _columns(names: str, source: str, rows: Mapping[str, tuple[Any, ...]]) -> PerTask:
    """A published table: ``names`` of its columns, and task -> values."""
    keys = names.split()
    return {
        task: {key: known(value, source) for key, value in zip(keys, values, strict=True)}
        for task, values in rows.items()
    }


def _ours(why: str, values: Mapping[str, Any], note: str) -> Settings:
    """Values that are unknown for one reason, and ours for another."""
    return {name: unknown(why, value, note) for name, value in values.items()}


def _left_out(shared: Settings, why: str, note: str, values: Mapping[str, Any]) -> Settings:
    """A task that the sources leave out: nothing of what is published is published for it."""
    of_others = {
        name: setting.value
        for name, setting in shared.items()
        if setting.is_known and setting.source != "rxf"
    }
    return _ours(why, {**of_others, **values}, note)


def _over(below: PerTask, above: PerTask) -> PerTask:
    return {task: {**below.get(task, {}), **above.get(task, {})} for task in {**below, **above}}


# ------------------------------------------------------------------- what methods share

_PLAIN_CRITERION = {
    # lambda 0 is fairseq's sentence_prediction, bit for bit, with exact metrics.
    "criterion": known("sentence_prediction_r3f", "rxf"),
    "r3f_lambda": known(0.0, "rxf"),
}
_FP16 = {"fp16": True, "fp16_init_scale": 4, "threshold_loss_scale": 1, "fp16_scale_window": 128}


def _published(values: Mapping[str, Any], source: str) -> Settings:
    return {name: known(value, source) for name, value in values.items()}


# What fairseq's RoBERTa configs and the README of examples/rxf have alike.
_OF_ROBERTA = {
    "max_tokens": 4400,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "optimizer": "adam",
    "adam_betas": "(0.9, 0.98)",
    "adam_eps": 1e-6,
    "weight_decay": 0.1,
    "clip_norm": 0.0,
    "lr_scheduler": "polynomial_decay",
}

_CM3_SILENT = "not in CM3's tables"
_AS_RXF = "as in [RXF]"

_R3F_SHARED: Settings = {
    "criterion": known("sentence_prediction_r3f", "rxf"),
    "noise_type": unknown(
        "which noise of {uniform, normal} the paper chose for the task", "uniform", _AS_RXF
    ),
    "r3f_lambda": unknown(
        "which lambda of {0.1, 0.5, 1, 5} the paper chose for the task", 0.7, _AS_RXF
    ),
    "eps": known(1e-5, "CM3"),
    "dropout": known(0.1, "CM3"),
    "optimizer": known("adam", "CM3"),
    "adam_betas": known("(0.9, 0.98)", "CM3"),
    "adam_eps": known(1e-6, "CM3"),
    "weight_decay": known(0.01, "CM3", "[RXF] has 0.1, for RTE"),
    "lr_scheduler": known("polynomial_decay", "CM3"),
    **_ours(
        _CM3_SILENT,
        {"max_tokens": 4400, "attention_dropout": 0.1, "clip_norm": 0.0, **_FP16},
        _AS_RXF,
    ),
}

SHARED: Mapping[str, Settings] = {
    "plain": {**_PLAIN_CRITERION, **_published({**_OF_ROBERTA, **_FP16}, "RoBERTa")},
    "r3f": _R3F_SHARED,
    "r4f": {
        **_R3F_SHARED,
        "spectral_norm_classification_head": known(True, "rxf"),
        "r3f_lambda": unknown(
            "which lambda the paper chose for R4F on the task", 0.7, "R3F's in [RXF]"
        ),
        "noise_type": unknown(
            "which noise the paper chose for R4F on the task", "uniform", "R3F's in [RXF]"
        ),
    },
    "freelb": {
        "criterion": known("sentence_prediction_freelb", "rxf"),
        **_published(_OF_ROBERTA, "FreeLB"),
        "adam_betas": known("(0.9, 0.999)", "FreeLB"),
        "max_epoch": known(10, "FreeLB"),
        **_ours("not noted of the scripts", {"max_tokens": 4400, **_FP16}, "as in [RoBERTa]"),
    },
    "recadam": {
        **_PLAIN_CRITERION,
        "dropout": unknown("left to the model there", 0.1, "RoBERTa's own"),
        "attention_dropout": unknown("left to the model there", 0.1, "RoBERTa's own"),
        "lr": known(2e-5, "RecAdam"),
        "batch_size": known(32, "RecAdam"),
        "update_freq": known(1, "RecAdam"),
        "processes": known(1, "RecAdam"),
        "warmup_updates": known(0, "RecAdam code"),
        "optimizer": known("recadam", "rxf"),
        "recadam_anneal_fun": known("sigmoid", "RecAdam code"),
        "recadam_anneal_k": unknown(
            "which k of {0.05, 0.1, 0.2, 0.5, 1} and t0 of {250, 500, 1000} it chose for the task",
            1.0,
            "the largest of each, the longest pull",
        ),
        "recadam_anneal_t0": unknown(
            "which k of {0.05, 0.1, 0.2, 0.5, 1} and t0 of {250, 500, 1000} it chose for the task",
            1000,
            "the largest of each, the longest pull",
        ),
        "recadam_pretrain_cof": known(5000.0, "RecAdam"),
        "recadam_init": known(
            "pretrained",
            "RecAdam code",
            "its --start_from_pretrain; by default it starts at random weights",
        ),
        "adam_betas": known("(0.9, 0.999)", "RecAdam code"),
        "adam_eps": known(1e-8, "RecAdam code"),
        "weight_decay": known(0.0, "RecAdam code"),
        "clip_norm": known(1.0, "RecAdam code"),
        "lr_scheduler": known("polynomial_decay", "RecAdam code"),
    },
    "cwgnc": {
        **_PLAIN_CRITERION,
        "dropout": unknown("left to the model there", 0.1, "RoBERTa's own"),
        "attention_dropout": unknown("left to the model there", 0.1, "RoBERTa's own"),
        "lr": known(2e-5, "CWGNC"),
        "batch_size": known(16, "CWGNC"),
        "update_freq": known(1, "CWGNC"),
        "processes": known(1, "CWGNC"),
        "max_epoch": known(3, "CWGNC"),
        "optimizer": known("cwgnc_adam", "rxf"),
        "component_clip_norm": known(0.05, "CWGNC", "of {0.01, 0.05, 0.1, 0.5, 1, 5}"),
        "component_clip_group": known("tensor", "CWGNC"),
        "clip_norm": known(0.0, "CWGNC"),
        **_ours(
            "run.sh leaves them to the trainer that it builds on",
            {
                "warmup_updates": 0,
                "adam_betas": "(0.9, 0.999)",
                "adam_eps": 1e-8,
                "weight_decay": 0.0,
                "lr_scheduler": "polynomial_decay",
            },
            "Hugging Face's defaults",
        ),
    },
}

# ------------------------------------------------------------------------ task by task

_PLAIN = _columns(
    "lr batch_size total_num_update max_update warmup_updates max_epoch",
    "RoBERTa",
    {
        "MNLI": (1e-5, 32, 123873, 123873, 7432, 10),
        "QQP": (1e-5, 32, 113272, 113272, 28318, 10),
        "RTE": (2e-5, 16, 2036, 2036, 122, 10),
        "QNLI": (1e-5, 32, 33112, 33112, 1986, 10),
        "MRPC": (1e-5, 16, 2296, 2296, 137, 10),
        "CoLA": (1e-5, 16, 5336, 5336, 320, 10),
        "SST-2": (1e-5, 32, 20935, 20935, 1256, 10),
        "STS-B": (2e-5, 16, 3598, 3598, 214, 10),
    },
)
_ONE_PROCESS: Settings = {
    "update_freq": known(1, "RoBERTa"),
    "processes": known(1, "RoBERTa"),
}
_WNLI = "fairseq's recipe for WNLI is another task (examples/roberta/wsc)"

_R3F = _columns(
    "lr batch_size total_num_update max_update",
    "CM3",
    {
        "MNLI": (5e-6, 8, 123873, 123873),
        "QNLI": (5e-6, 8, 33112, 33112),
        "QQP": (5e-6, 32, 113272, 113272),
        "SST-2": (5e-6, 32, 20935, 20935),
        "MRPC": (1e-5, 16, 2296, 2296),
        "CoLA": (1e-5, 16, 5336, 5336),
    },
)
# 0.06 x the updates; rounded down, as the README of examples/rxf does for RTE.
_R3F_WARMUP = _columns(
    "warmup_updates",
    "CM3",
    {
        "MNLI": (7432,),
        "QNLI": (1986,),
        "QQP": (6796,),
        "SST-2": (1256,),
        "MRPC": (137,),
        "CoLA": (320,),
    },
)
_ONE = unknown("CM3 does not say on how many GPUs", 1, "1 makes 10 epochs, as in [RXF]")
_FOUR = unknown(
    "CM3 does not say on how many GPUs",
    4,
    "4 make 10 epochs and the batch of [RoBERTa], 1 would make 2.5",
)
_R3F_PROCESSES: PerTask = {
    **{task: {"processes": _FOUR} for task in ("MNLI", "QNLI")},
    **{task: {"processes": _ONE} for task in ("QQP", "SST-2", "MRPC", "CoLA")},
}
_R3F_UPDATE_FREQ: PerTask = {
    task: {"update_freq": unknown(_CM3_SILENT, 1, _AS_RXF)} for task in _R3F
}
# The released command; it sets neither --eps, whose default this is, nor --update-freq.
_R3F_RTE: Settings = _published(
    {
        **dict(noise_type="uniform", r3f_lambda=0.7, eps=1e-5),
        **dict(batch_size=8, update_freq=1, processes=1),
        **dict(lr=1e-5, total_num_update=3120, warmup_updates=187, max_epoch=10),
        **_OF_ROBERTA,
        **_FP16,
    },
    "RXF",
)
_R3F_TASKS: PerTask = {
    **_over(_over(_R3F, _R3F_WARMUP), _over(_R3F_PROCESSES, _R3F_UPDATE_FREQ)),
    "RTE": _R3F_RTE,
    "STS-B": _left_out(
        _R3F_SHARED,
        "the paper leaves regression out",
        "plain fine-tuning's of [RoBERTa]; eps as in [CM3]",
        dict(
            lr=2e-5,
            batch_size=16,
            update_freq=1,
            processes=1,
            total_num_update=3598,
            max_update=3598,
            warmup_updates=214,
            weight_decay=0.1,
            max_epoch=10,
        ),
    ),
    "WNLI": _left_out(
        _R3F_SHARED,
        "no source has WNLI",
        "as RTE: 10 epochs, of 635 rows",
        dict(
            lr=1e-5,
            batch_size=8,
            update_freq=1,
            processes=1,
            total_num_update=800,
            warmup_updates=48,
            max_epoch=10,
            weight_decay=0.1,
        ),
    ),
}

_FREELB = _columns(
    "lr batch_size update_freq total_num_update warmup_updates freelb_steps freelb_adv_lr "
    "freelb_init_mag freelb_max_norm",
    "FreeLB",
    {
        "CoLA": (1e-5, 8, 2, 5536, 320, 4, 0.025, 0.4, 0.3),
        "MNLI": (1e-5, 3, 11, 123873, 7432, 3, 0.1, 0.1, 0.3),
        "MRPC": (5e-6, 2, 8, 2296, 137, 4, 0.04, 0.64, 0.4),
        "QNLI": (1e-5, 2, 16, 33112, 1986, 3, 0.1, 0.2, 0.2),
        "QQP": (1e-5, 32, 1, 113272, 28318, 3, 0.15, 0.32, 0.62),
        "RTE": (1e-5, 2, 8, 2036, 122, 4, 0.06, 0.16, 0.14),
        "SST-2": (1e-5, 8, 4, 20935, 1256, 3, 0.1, 1.0, 0.6),
        "STS-B": (2e-5, 8, 2, 3598, 214, 4, 0.1, 0.16, 0.28),
    },
)
_PER_GPU = unknown("the scripts' sentences are per GPU", 1, "1 makes about the batch of [RoBERTa]")
# What the scripts have besides what is taken here.
_FREELB_NOTES: PerTask = {
    "CoLA": {"total_num_update": known(5536, "FreeLB", "sic; [RoBERTa] has 5336")},
    "RTE": {
        "freelb_adv_lr": known(0.06, "FreeLB", "0.06 or 0.09, in lines commented out there"),
        "freelb_init_mag": known(0.16, "FreeLB", "in lines commented out there"),
        "freelb_max_norm": known(0.14, "FreeLB", "in lines commented out there"),
    },
    "QNLI": {
        "freelb_adv_lr": known(0.1, "FreeLB", "in fp32 0.075"),
        "freelb_init_mag": known(0.2, "FreeLB", "in fp32 0.15"),
        "freelb_max_norm": known(0.2, "FreeLB", "in fp32 0.15"),
    },
    "QQP": {
        "freelb_adv_lr": known(0.15, "FreeLB", "in fp32 0.2"),
        "freelb_max_norm": known(0.62, "FreeLB", "in fp32 0.7"),
    },
    "SST-2": {
        "freelb_init_mag": known(1.0, "FreeLB", "also 0.5"),
        "freelb_max_norm": known(0.6, "FreeLB", "also 0.4"),
    },
}
_FREELB_TASKS: PerTask = {
    **{
        task: {**settings, "processes": _PER_GPU}
        for task, settings in _over(_FREELB, _FREELB_NOTES).items()
    },
    "WNLI": _left_out(
        SHARED["freelb"],
        "no source has WNLI",
        "RTE's of [FreeLB]; 10 epochs of 635 rows",
        dict(
            lr=1e-5,
            batch_size=2,
            update_freq=8,
            processes=1,
            total_num_update=400,
            warmup_updates=24,
            freelb_steps=4,
            freelb_adv_lr=0.06,
            freelb_init_mag=0.16,
            freelb_max_norm=0.14,
        ),
    ),
}

_RECADAM_UPDATES = {
    "MNLI": 61360,
    "QQP": 56855,
    "QNLI": 33890,
    "SST-2": 21050,
    "CoLA": 13400,
    "STS-B": 9000,
    "MRPC": 11500,
    "RTE": 7800,
}
_RECADAM_TASKS: PerTask = {
    **_columns(
        "total_num_update max_update",
        "RecAdam",
        {task: (updates, updates) for task, updates in _RECADAM_UPDATES.items()},
    ),
    "WNLI": _left_out(
        SHARED["recadam"],
        "no source has WNLI",
        "as RTE: 100 epochs, of 635 rows; the smallest t0 for so few updates",
        {"total_num_update": 2000, "max_update": 2000, "recadam_anneal_t0": 250},
    ),
}

# The tasks whose failed runs the released code counts.
_CWGNC_TASKS: PerTask = {
    task: {"total_num_update": known(updates, "CWGNC", "3 epochs of the official rows")}
    for task, updates in {"RTE": 468, "MRPC": 690, "CoLA": 1605, "QNLI": 19641}.items()
}

PER_TASK: Mapping[str, PerTask] = {
    "plain": {
        **{task: {**settings, **_ONE_PROCESS} for task, settings in _PLAIN.items()},
        "WNLI": _left_out(
            SHARED["plain"],
            _WNLI,
            "as the other small tasks: 10 epochs, of 635 rows",
            dict(
                lr=1e-5,
                batch_size=16,
                update_freq=1,
                processes=1,
                total_num_update=400,
                max_update=400,
                warmup_updates=24,
                max_epoch=10,
            ),
        ),
    },
    "r3f": _R3F_TASKS,
    "r4f": {
        **_R3F_TASKS,
        # The README says that R4F is this command with the flag.
        "RTE": {
            **_R3F_RTE,
            "r3f_lambda": SHARED["r4f"]["r3f_lambda"],
            "noise_type": SHARED["r4f"]["noise_type"],
        },
    },
    "freelb": _FREELB_TASKS,
    "recadam": _RECADAM_TASKS,
    "cwgnc": _CWGNC_TASKS,
}
