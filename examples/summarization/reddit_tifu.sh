#!/usr/bin/env bash
# Reddit TIFU (long) with BART-large and R3F, from raw files to ROUGE.
#   BART=model.pt examples/summarization/reddit_tifu.sh [--dry-run] RAW WORK [MORE FLAGS]
#   examples/summarization/reddit_tifu.sh --smoke WORK [MORE FLAGS]
# RAW holds train, val and test .source and .target, one post or summary a line.  There is no
# official split: state yours.  Plain fine-tuning: --r3f-lambda 0 behind WORK.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/recipe.sh"
source "$here/bart_large.sh"
bart_arguments "$@"
spread 1 1

# Updates, warm-up, rate and tokens are those that fairseq issue 4411 takes for the paper's
# appendix ("can't reproduce BART-R3F": it fell short of the paper's ROUGE with them).
# --update-freq is not: 1, for we do not know it.
train_flags=(
  "${bart_flags[@]}" "${r3f_flags[@]}"
  --lr 3e-05 --total-num-update 200000 --max-update 200000 --warmup-updates 5000
  --max-tokens 2048
)
# Not known for the paper: fairseq's examples/bart/summarize.py for XSum, also one sentence.
generate_flags=(--beam 6 --lenpen 1.0 --max-len-b 60 --min-len 10 --no-repeat-ngram-size 3)
recipe
