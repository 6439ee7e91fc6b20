#!/usr/bin/env bash
# AESLC (e-mail to subject line) with a small BART on a laptop's CPU, raw files to ROUGE.
#   [PRETRAINED=DIR] examples/summarization/aeslc.sh [--dry-run] RAW WORK plain|r3f SEED [FLAGS]
#   examples/summarization/aeslc.sh --smoke WORK plain|r3f SEED [FLAGS]
# As scitldr.sh, which see.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/recipe.sh"
source "$here/small_bart.sh"
small_arguments "$@"

# Most of a subject stands in the first lines: cut at 256 tokens, twice as fast.
prepare_flags+=(--max-source-tokens 256)
train_flags=(
  "${small_flags[@]}" --max-tokens 2048
  --lr 5e-04 --max-update 600 --total-num-update 600 --warmup-updates 60
)
generate_flags=(--beam 4 --lenpen 1.0 --max-len-b 30 --min-len 1 --no-repeat-ngram-size 3)
recipe
