"""RecAdam (Chen et al. 2020): see README.md."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="recadam",
    title="RecAdam",
    paper="Chen et al. 2020 (arXiv 2004.12651)",
    year=2020,
    summary="Adam that is pulled to the pre-trained weights first, and let go by and by",
    when="where the pre-trained knowledge must not be forgotten",
    needs="the pre-trained file, on resume too",
    cost=Cost("0", "0", "1 P"),
    registers=("optimizer",),
    sentences={"optimizer": "recadam"},
    generation={"optimizer": "recadam"},
    # The pull lasts as long as a handful of updates, and is stable at a learning rate of 0.01.
    tiny={"recadam_anneal_t0": 6.0, "recadam_pretrain_cof": 20.0},
)
