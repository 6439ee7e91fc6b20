"""SMART: adversarial noise on the embeddings, and a price on leaving a slow copy of the model."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="smart",
    title="SMART",
    paper="Jiang et al. 2019 (arXiv 1911.03437)",
    year=2019,
    summary="the noise that changes the prediction most, and a pull to a slow copy of the model",
    when="where its cost is no matter; --smart-mu 0 or --smart-lambda 0 leaves one half out",
    needs="the number of updates, for the schedule of its copy",
    cost=Cost("1 + K, and 1 of the copy", "K to the noise, and about 1", "1 act, 1 P"),
    registers=("sentence_prediction", "label_smoothed_cross_entropy"),
    sentences={"criterion": "sentence_prediction_smart"},
    generation={"criterion": "label_smoothed_cross_entropy_smart"},
    plain_at={"smart_lambda": 0.0, "smart_mu": 0.0},
    tiny={"smart_lambda": 0.1, "smart_eps": 0.02, "smart_sigma": 0.02, "smart_mu": 0.1},
)
