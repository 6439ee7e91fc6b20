"""R4F: R3F with a classification head of spectral norm 1."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="r4f",
    title="R4F",
    paper="Aghajanyan et al. 2020 (arXiv 2008.03156)",
    year=2020,
    summary="R3F, with a classification head whose spectral norm is 1",
    when="as R3F, where the head should not grow",
    cost=Cost("1", "about 1 (0 with --r3f-grad clean)", "1 act (0 with --r3f-passes recompute)"),
    registers=("heads",),
    sentences={
        "criterion": "sentence_prediction_r3f",
        "spectral_norm_classification_head": True,
    },
    tiny={"eps": 0.05, "spectral_norm_scope": "head"},
)
