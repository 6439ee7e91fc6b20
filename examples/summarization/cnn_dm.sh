#!/usr/bin/env bash
# CNN/DailyMail with BART-large and R3F, from raw files to ROUGE.
#   BART=model.pt examples/summarization/cnn_dm.sh [--dry-run] RAW WORK [MORE FLAGS]
#   examples/summarization/cnn_dm.sh --smoke WORK [MORE FLAGS]
# RAW holds train, val and test .source and .target: one article or summary a line, cased and
# not tokenised.  Flags behind WORK overrule the recipe's: plain fine-tuning is --r3f-lambda 0.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/recipe.sh"
source "$here/bart_large.sh"
bart_arguments "$@"
spread 4 8

# Schedule and batch: fairseq's BART recipe, which is for 8 GPUs with an update frequency of 4; on
# fewer it grows to the same batch.  The paper's schedule for CNN/DM is not known to us.
train_flags=(
  "${bart_flags[@]}" "${r3f_flags[@]}"
  --lr 3e-05 --total-num-update 20000 --max-update 20000 --warmup-updates 500
  --max-tokens 2048
)
# fairseq's examples/bart/summarize.py for CNN/DM.
generate_flags=(--beam 4 --lenpen 2.0 --max-len-b 140 --min-len 55 --no-repeat-ngram-size 3)
recipe
