#!/usr/bin/env bash
# Pre-trains the small BART of scitldr.sh and aeslc.sh by denoising, with fairseq's own task.
#   examples/summarization/pretrain_small_bart.sh [--dry-run] TEXT OUT [MORE FLAGS]
#   examples/summarization/pretrain_small_bart.sh --smoke OUT [MORE FLAGS]
# TEXT holds train.txt and valid.txt (or .gz), a document a line: `gather_text.sh` makes it of
# the development data.  OUT gets data/ (with the dictionary) and model.pt; then
#   PRETRAINED=OUT examples/summarization/scitldr.sh RAW WORK r3f 1
# MIN_COUNT sets the dictionary: tokens that stand that often in the training text, and bytes.
#
# The task adds <mask> to the dictionary as its last word, and fairseq's BART drops the last
# row again where a checkpoint has one row more than the dictionary of the fine-tuning task:
# so both must be made with the same dict.txt, which PRETRAINED sees to.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/recipe.sh"
source "$here/small_bart.sh"
arguments 2 "$0 [--dry-run] TEXT OUT [MORE FLAGS OF fairseq-train]" "$@"
raw=${positional[0]}
run=${positional[1]}
data=$run/data
stages=(prepare train publish)
spread 1 1

# Masking as in the BART paper: spans of Poisson length 3.5 over 30 % of the words, each made
# one <mask>, and sentences in another order.  Sizes and schedule are ours.
noise=(
  --mask 0.3 --mask-length span-poisson --poisson-lambda 3.5 --replace-length 1
  --permute-sentences 1.0 --rotate 0.0
  # How the task knows where words and sentences end.
  --bpe gpt2 --gpt2-encoder-json "$data/bpe/encoder.json" --gpt2-vocab-bpe "$data/bpe/vocab.bpe"
)

need_folder TEXT "$raw"
stage prepare "$data/prepare.json" rxf prepare text "$raw" "$data" \
  --row-tokens 254 --min-count "${MIN_COUNT:-200}" ${BPE:+--bpe-dir "$BPE"}
stage train "$run/checkpoints/checkpoint_best.pt" \
  "${trainer[@]}" "$data" --user-dir rxf --save-dir "$run/checkpoints" "${batch_flags[@]}" \
  --task denoising --sample-break-mode eos --tokens-per-sample 256 "${noise[@]}" \
  "${small_bart[@]}" --criterion cross_entropy --dropout 0.0 --attention-dropout 0.0 \
  --optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 \
  --weight-decay 0.01 --clip-norm 1.0 \
  --lr-scheduler polynomial_decay --lr 2e-03 --warmup-updates 300 \
  --max-update 2500 --total-num-update 2500 --max-tokens 4096 --required-batch-size-multiple 1 \
  --validate-interval-updates 1250 --save-interval-updates 1250 --keep-interval-updates 1 \
  --no-epoch-checkpoints --num-workers 0 --seed 1 \
  ${smoke_flags[@]+"${smoke_flags[@]}"} ${more[@]+"${more[@]}"}
stage publish "$run/model.pt" cp "$run/checkpoints/checkpoint_best.pt" "$run/model.pt"
