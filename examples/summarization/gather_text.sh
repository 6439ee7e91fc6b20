#!/usr/bin/env bash
# Text to pre-train on, from the development data: Reuters, and the training sources (no
# summaries, nothing of dev and test) of SciTLDR and AESLC.
#   examples/summarization/gather_text.sh DATA TEXT
# DATA holds reuters_text/, scitldr/ and aeslc/; TEXT gets train.txt.gz and valid.txt.gz, a
# document a line.
set -euo pipefail
data=${1:?usage: $0 DATA TEXT}
text=${2:?usage: $0 DATA TEXT}

# Reuters has a paragraph a line and a blank line between documents.
documents() { gzip -dc "$1" | awk 'BEGIN { RS = "" } { gsub("\n", " "); print }'; }

for file in reuters_text/{train,valid}.txt.gz scitldr/train.source aeslc/train.source.gz; do
  [[ -f $data/$file ]] || { echo "${0##*/}: error: there is no $data/$file" >&2; exit 1; }
done
mkdir -p "$text"
documents "$data/reuters_text/valid.txt.gz" | gzip >"$text/valid.txt.gz.partial"
{
  documents "$data/reuters_text/train.txt.gz"
  cat "$data/scitldr/train.source"
  gzip -dc "$data/aeslc/train.source.gz"
} | gzip >"$text/train.txt.gz.partial"
for split in train valid; do mv "$text/$split.txt.gz.partial" "$text/$split.txt.gz"; done
