"""PAC-tuning: noise on the weights, its size learned from a PAC-Bayes bound."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="pac",
    title="PAC-tuning",
    paper="Liu et al. 2023 (arXiv 2310.17588)",
    year=2023,
    summary="noise on the weights, its size learned from a PAC-Bayes bound",
    when="some hundred labelled sentences, and time for many epochs over them",
    needs="one pass over the training data for each of 80 random models, before training",
    cost=Cost("0", "0", "5 P for variances, their Adam and the start, about 5 P in an update"),
    registers=("sentence_prediction",),
    sentences={"criterion": "sentence_prediction_pac"},
    classes_only=True,
    # Freely, as the bound's price on what moves away from a random start stops it; the noise on
    # the norms, which starts at their size, has to go in a few updates.
    tiny={
        "pac_gamma": 1e6,
        "pac_variance_lr": 0.5,
        "pac_train_embeddings": True,
        "pac_k_models": 2,
        "pac_k_batches": 1,
        "pac_stage1_epochs": 1,
    },
)
