"""Component-wise gradient norm clipping (Yang & Ma 2022): see README.md."""

from rxf.methods.registry import Method

METHOD = Method(
    name="cwgnc",
    title="CWGNC",
    paper="Yang & Ma 2022 (arXiv 2210.10325)",
    year=2022,
    summary="Adam with each parameter's gradient clipped on its own",
    when="where some components converge faster than others; costs nothing",
    registers=("optimizer",),
    sentences={"optimizer": "cwgnc_adam"},
    generation={"optimizer": "cwgnc_adam"},
)
