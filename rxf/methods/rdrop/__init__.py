"""R-Drop: two dropout passes, and a price on their difference."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="rdrop",
    title="R-Drop",
    paper="Liang et al. 2021 (arXiv 2106.14448)",
    year=2021,
    summary="two passes with dropout, and a price on the difference of what they predict",
    when="as the control of R3F: the same cost and divergence, dropout for noise",
    needs="dropout above 0",
    cost=Cost("1", "about 1", "1 act"),
    registers=("sentence_prediction", "label_smoothed_cross_entropy"),
    sentences={"criterion": "sentence_prediction_rdrop"},
    generation={"criterion": "label_smoothed_cross_entropy_rdrop"},
    plain_at={"rdrop_alpha": 0.0},
)
