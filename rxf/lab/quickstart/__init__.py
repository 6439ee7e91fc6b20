"""The quickstart: plain, R3F and R4F over several seeds, on built-in data or on GLUE.

lexicon, grammar    the built-in language: words; six labelled tasks and running text
data                the same in fairseq's binary form
recipe              the methods, and the command of one run
pretrain            the tiny model: shipped, and how it was made
targets             a task and the model for it: built-in, or GLUE from $RXF_DATA
__main__            the command line, which ends with the report of rxf.lab.report

Each imports only from those above it.
"""
