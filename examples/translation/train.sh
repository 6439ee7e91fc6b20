#!/usr/bin/env bash
# Translation with R3F from text to BLEU: a transformer trained from random weights.
#   [VOCABULARY=8000] examples/translation/train.sh [--dry-run] TEXT WORK SOURCE TARGET [FLAGS]
#   examples/translation/train.sh --smoke WORK SOURCE TARGET [FLAGS]
# TEXT holds train, valid and test as plain text, a sentence a line: train.de, train.en, ...
# for SOURCE de and TARGET en.  FLAGS go to fairseq-train last and so overrule what stands
# below: --r3f-lambda 0 is plain training.
# Model and optimizer are those of fairseq's IWSLT'14 example, without its tokenizer; those of
# R3F are ours, and nothing here has been measured on real data.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../stages.sh"
stages=(pieces binarise train generate score)

# Called by `arguments` with the folder that stands for TEXT.
make_stand_in() {
  VOCABULARY=60
  python "$here/stand_in.py" "$1" "${positional[2]}" "${positional[3]}"
  smoke_flags=(
    --encoder-layers 1 --decoder-layers 1 --encoder-embed-dim 16 --decoder-embed-dim 16
    --encoder-ffn-embed-dim 32 --decoder-ffn-embed-dim 32 --cpu --num-workers 0
    --max-update 4 --warmup-updates 1 --log-format simple --log-interval 1
  )
}

arguments 4 "[VOCABULARY=N] $0 [--dry-run] TEXT WORK SOURCE TARGET [MORE FLAGS]" "$@"
text=${positional[0]}
run=${positional[1]}
from=${positional[2]}
to=${positional[3]}
pieces=$run/pieces
spread 1 1
data=$run/data

for split in train valid test; do
  need_file TEXT "$text/$split.$from"
  need_file TEXT "$text/$split.$to"
done

stage pieces "$pieces/dict.txt" \
  python "$here/pieces.py" "$text" "$pieces" "$from" "$to" --vocabulary "${VOCABULARY:-8000}"
stage binarise "$data/test.$from-$to.$to.idx" \
  fairseq-preprocess --source-lang "$from" --target-lang "$to" \
  --trainpref "$pieces/train" --validpref "$pieces/valid" --testpref "$pieces/test" \
  --srcdict "$pieces/dict.txt" --tgtdict "$pieces/dict.txt" --destdir "$data"
stage train "$run/checkpoints/checkpoint_best.pt" \
  "${trainer[@]}" "$data" --user-dir rxf --save-dir "$run/checkpoints" "${batch_flags[@]}" \
  --task translation --source-lang "$from" --target-lang "$to" \
  --arch transformer_iwslt_de_en --share-all-embeddings --dropout 0.3 \
  --criterion label_smoothed_cross_entropy_r3f --label-smoothing 0.1 \
  --eps 1e-05 --noise-type normal --r3f-reduction sentence --r3f-lambda 0.01 \
  --optimizer adam --adam-betas "(0.9, 0.98)" --weight-decay 0.0001 \
  --lr 5e-4 --lr-scheduler inverse_sqrt --warmup-updates 4000 --max-update 50000 \
  --max-tokens 4096 --skip-invalid-size-inputs-valid-test --no-epoch-checkpoints \
  ${smoke_flags[@]+"${smoke_flags[@]}"} ${more[@]+"${more[@]}"}
stage generate "$run/test/hypotheses.txt" \
  rxf generate "$run/checkpoints/checkpoint_best.pt" "$data" "$run/test" \
  --overwrite --beam 5 --remove-bpe sentencepiece
stage score "$run/bleu.json" \
  rxf bleu "$text/test.$to" "$run/test/hypotheses.txt" --json "$run/bleu.json"
