"""The recipes of ``examples`` from one table: settings with their sources, and what is made of it.

settings         a value with its source, or ours where it is unknown
glue_settings    the table: task x method, data only
glue             a row of it as flags of fairseq-train
bash, hydra      the same as a script's lines, and as a config for fairseq-hydra-train
table            the same for a reader
summarization    what the scripts of examples/summarization and xnli print, for their configs
files            which files of examples are generated, and which are stale
architecture     a checkpoint's model as flags: python -m rxf.lab.recipes.architecture FILE
score            the last stage of a GLUE recipe: python -m rxf.lab.recipes.score
"""

__all__: list[str] = []
