#!/usr/bin/env bash
# Gigaword headlines with BART-large and R3F, from raw files to ROUGE.
#   BART=model.pt examples/summarization/gigaword.sh [--dry-run] RAW WORK [MORE FLAGS]
#   examples/summarization/gigaword.sh --smoke WORK [MORE FLAGS]
# RAW holds train, dev and test .source and .target, one sentence or headline a line (LDC
# data; the usual files are lower case, tokenised, digits as #: leave them so, as the usual
# scores do).  Plain fine-tuning: --r3f-lambda 0 behind WORK.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/recipe.sh"
source "$here/bart_large.sh"
bart_arguments "$@"
spread 4 8

# Neither the paper's schedule nor its decoding for Gigaword is known to us.  Schedule and
# batch are those of fairseq's BART recipe for CNN/DM (8 GPUs).
train_flags=(
  "${bart_flags[@]}" "${r3f_flags[@]}"
  --lr 3e-05 --total-num-update 20000 --max-update 20000 --warmup-updates 500
  --max-tokens 2048
)
# fairseq's examples/bart/summarize.py for XSum, but without its 10 tokens at least: many
# headlines are shorter (ours).
generate_flags=(--beam 6 --lenpen 1.0 --max-len-b 60 --min-len 1 --no-repeat-ngram-size 3)
recipe
