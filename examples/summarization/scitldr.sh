#!/usr/bin/env bash
# SciTLDR-A (abstract to one sentence) with a small BART on a laptop's CPU, raw files to ROUGE.
#   [PRETRAINED=DIR] examples/summarization/scitldr.sh [--dry-run] RAW WORK plain|r3f SEED [FLAGS]
#   examples/summarization/scitldr.sh --smoke WORK plain|r3f SEED [FLAGS]
# RAW holds train, dev and test .source and .target.  The data go to WORK/data, a run to
# WORK/METHOD-SEED.  PRETRAINED is a folder of pretrain_small_bart.sh; without it training
# starts from random weights, which 1992 abstracts cannot teach to write.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/recipe.sh"
source "$here/small_bart.sh"
small_arguments "$@"
# All references where they are at hand: the best one counts, as in the SciTLDR paper.
[[ ! -f $raw/test.refs.jsonl ]] || reference=$raw/test.refs.jsonl

train_flags=(
  "${small_flags[@]}" --max-tokens 2048
  --lr 5e-04 --max-update 600 --total-num-update 600 --warmup-updates 60
)
generate_flags=(--beam 4 --lenpen 1.0 --max-len-b 60 --min-len 10 --no-repeat-ngram-size 3)
recipe
