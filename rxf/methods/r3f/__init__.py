"""R3F: noise on the token embeddings, and a price on what it changes."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="r3f",
    title="R3F",
    paper="Aghajanyan et al. 2020 (arXiv 2008.03156)",
    year=2020,
    summary="noise on the token embeddings, and a price on what it changes",
    when="the first thing to try: no pre-trained copy, no inner loop",
    cost=Cost("1", "about 1 (0 with --r3f-grad clean)", "1 act (0 with --r3f-passes recompute)"),
    registers=("sentence_prediction", "label_smoothed_cross_entropy"),
    sentences={"criterion": "sentence_prediction_r3f"},
    generation={"criterion": "label_smoothed_cross_entropy_r3f"},
    plain_at={"r3f_lambda": 0.0},
    tiny={"eps": 0.05, "r3f_lambda": 0.1},
)
