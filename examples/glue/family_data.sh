#!/usr/bin/env bash
# The data of family_runs.sh: SST-2 with the first 5,000 training rows, and CoLA.
#   examples/glue/family_data.sh RXF_DATA DATA
# RXF_DATA holds glue/ and gpt2_bpe/; DATA/SST-2 and DATA/CoLA are made.  What is there already,
# from the same files, is left alone.
set -euo pipefail

usage="usage: $0 RXF_DATA DATA"
source=${1:?$usage}
data=${2:?$usage}
rows=5000

prepare() { rxf prepare glue "$1" "$2" "$data/$2" --bpe-dir "$source/gpt2_bpe"; }

mkdir -p "$data/first-$rows/SST-2"
# One line more, the heading.
head -n $((rows + 1)) "$source/glue/SST-2/train.tsv" >"$data/first-$rows/SST-2/train.tsv"
cp -f "$source/glue/SST-2/dev.tsv" "$data/first-$rows/SST-2/dev.tsv"
chmod u+w "$data/first-$rows/SST-2/dev.tsv"
prepare "$data/first-$rows" SST-2
prepare "$source/glue" CoLA
