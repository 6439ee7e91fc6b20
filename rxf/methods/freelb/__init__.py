"""FreeLB: K passes an update, between which a perturbation of the embeddings climbs the loss."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="freelb",
    title="FreeLB",
    paper="Zhu et al. 2019 (arXiv 1909.11764)",
    year=2019,
    summary="the mean loss of K passes, the token embeddings perturbed further uphill in each",
    when="where K times the time is no matter, but memory is",
    cost=Cost("K - 1 (2)", "K - 1 (2)", "0; the token embeddings of one batch in fp32"),
    registers=("sentence_prediction",),
    sentences={"criterion": "sentence_prediction_freelb"},
    plain_at={"freelb_steps": 1, "freelb_init_mag": 0.0},
    tiny={"freelb_adv_lr": 0.02, "freelb_init_mag": 0.02, "freelb_max_norm": 0.06},
)
