"""MHLoss: several linear heads at once, and their mean as the head of the model."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="mhloss",
    title="MHLoss",
    paper="Fu et al. 2023 (arXiv 2301.09820)",
    year=2023,
    summary="several linear heads on the same features, whose mean is the model's head",
    when="where the start of a new head decides too much, at next to no cost",
    needs="a plain linear layer at the end of the head",
    cost=Cost("0", "0", "H heads"),
    registers=("sentence_prediction",),
    sentences={"criterion": "sentence_prediction_mhloss"},
)
