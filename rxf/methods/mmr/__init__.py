"""MMR: class centres of the encoder's features are pushed apart."""

from rxf.methods.registry import Method

METHOD = Method(
    name="mmr",
    title="MMR",
    paper="Fu et al. 2023 (arXiv 2301.09820)",
    year=2023,
    summary="a price on class centres that lie close together",
    when="where no second pass can be paid for, and a batch holds every class",
    needs="classes, and batches with more than one of them",
    registers=("sentence_prediction",),
    sentences={"criterion": "sentence_prediction_mmr"},
    plain_at={"mmr_alpha": 0.0},
    not_additive="the class centres are those of the micro-batch",
    classes_only=True,
)
