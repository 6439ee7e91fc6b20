"""SURT: pre-training goes on, on the task's own text, before fine-tuning."""

from rxf.methods.registry import Cost, Method

METHOD = Method(
    name="surt",
    title="SURT",
    paper="Fu et al. 2023 (arXiv 2301.09820)",
    year=2023,
    summary="masked language modelling on the task's own text first, then plain fine-tuning",
    when="where the task's text is unlike the text of pre-training",
    needs="a pre-trained masked language model, and time for a stage before",
    cost=Cost("0, after a stage of masked_lm", "0", "0"),
    recipe="examples/glue/surt.sh",
)
