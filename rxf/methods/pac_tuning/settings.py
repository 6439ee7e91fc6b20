"""The flags of PAC-tuning."""

from dataclasses import dataclass, field

from fairseq.dataclass import FairseqDataclass

from rxf.errors import UserError, check_number

__all__ = ["PacTuningConfig", "check_settings"]


@dataclass
class PacTuningConfig(FairseqDataclass):
    """Flags of PAC-tuning (Liu et al. 2023); defaults as published."""

    pac_gamma: float = field(
        default=10.0,
        metadata={"help": "gamma of the bound; the paper has 10 for SST-2 and CoLA, else 5"},
    )
    pac_stage1_epochs: int = field(
        default=250,
        metadata={
            "help": "epochs on the bound, which train the variances; after them the variances "
            "are frozen and only the noise stays (the paper: 250 of 300)"
        },
    )
    pac_variance_lr: float = field(
        default=0.1, metadata={"help": "Adam's rate for the encoder's log standard deviations"}
    )
    pac_head_variance_lr: float = field(
        default=0.5,
        metadata={"help": "the same for the head's, x 0.9 every 10 updates down to 0.01"},
    )
    pac_train_embeddings: bool = field(
        default=False,
        metadata={"help": "train and perturb the embedding tables too; else they are frozen"},
    )
    pac_k_models: int = field(
        default=10,
        metadata={"help": "random models at each of 8 prior sizes, to estimate the bound's K"},
    )
    pac_k_batches: int = field(
        default=0,
        metadata={"help": "batches on which K is estimated, on each rank; 0 takes all"},
    )
    pac_noise_seed: int = field(
        default=0, metadata={"help": "another value draws other noise for the same --seed"}
    )


def check_settings(cfg: PacTuningConfig, regression: bool) -> None:
    """Refuse values that mean nothing.

    Raises:
        UserError: one of them, by its flag.
    """
    if regression:
        raise UserError(
            "--regression-target: the bound of sentence_prediction_pac is derived for "
            "cross-entropy; use another --criterion for regression"
        )
    check_number("--pac-gamma", cfg.pac_gamma, cfg.pac_gamma > 0, "above 0")
    for flag, value, least in (
        ("--pac-stage1-epochs", cfg.pac_stage1_epochs, 0),
        ("--pac-variance-lr", cfg.pac_variance_lr, 0),
        ("--pac-head-variance-lr", cfg.pac_head_variance_lr, 0),
        ("--pac-k-models", cfg.pac_k_models, 1),
        ("--pac-k-batches", cfg.pac_k_batches, 0),
    ):
        check_number(flag, value, value >= least, f"of {least} or more")
