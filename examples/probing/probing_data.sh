#!/usr/bin/env bash
# The data of probing_runs.sh: five GLUE tasks, XNLI English, and news text.
#   examples/probing/probing_data.sh RXF_DATA DATA
# RXF_DATA holds glue/, xnli/dev-en.tsv, reuters_text/ and gpt2_bpe/.  SST-2 has its first 5,000
# training rows, the others all.  What is there already, from the same files, is left alone.
set -euo pipefail

usage="usage: $0 RXF_DATA DATA"
source=${1:?$usage}
data=${2:?$usage}
here=$(dirname "$0")

"$here/../glue/family_data.sh" "$source" "$data"
for task in RTE MRPC STS-B; do
  rxf prepare glue "$source/glue" "$task" "$data/$task" --bpe-dir "$source/gpt2_bpe"
done
python "$here/xnli_english.py" "$source/xnli/dev-en.tsv" "$data" --bpe-dir "$source/gpt2_bpe"
rxf prepare text "$source/reuters_text" "$data/reuters_text" --bpe-dir "$source/gpt2_bpe"
