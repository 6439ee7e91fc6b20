#!/usr/bin/env bash
# XNLI with XLM-R: trained on English, scored in each language without a label of it.
#   XLMR=xlmr.large/model.pt examples/xnli/xnli.sh [--dry-run] RAW WORK plain|r3f|r4f [MORE FLAGS]
#   examples/xnli/xnli.sh --smoke WORK plain|r3f|r4f [MORE FLAGS]
# RAW holds the official files, as `rxf prepare xnli --help` says.  WORK gets data/, a folder
# METHOD-SEED for each run, and table.md: every run in WORK beside the published rows.  Flags
# behind METHOD go to fairseq-train last and overrule the recipe's.
#
# SEEDS       one run each, "1" unless set; the paper averages 5: SEEDS="1 2 3 4 5"
# SPM, DICT   SentencePiece model and dict.txt, beside XLMR unless set
# TRAIN       English training rows, where RAW has none (MNLI's train.tsv will do)
# TRAIN_ROWS  only so many of them
# GPUS, NODES see ../stages.sh; 1, 2 or 4 processes make the recipe's batch
#
# --smoke makes data and a tiny random model on the spot, and runs every stage on the CPU.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../stages.sh"
stages=(prepare train evaluate table)

# Called by `arguments` with the folder that stands for RAW.
make_stand_in() {
  XLMR=$1/model.pt SPM= DICT= TRAIN= TRAIN_ROWS=
  [[ -f $XLMR ]] || python "$here/stand_in.py" "$1"
}

arguments 3 "XLMR=model.pt $0 [--dry-run|--smoke] RAW WORK plain|r3f|r4f [MORE FLAGS]" "$@"
raw=${positional[0]}
work=${positional[1]}
method=${positional[2]}
data=$work/data
: "${XLMR:?set XLMR to the pre-trained model.pt}"
spm=${SPM:-$(dirname "$XLMR")/sentencepiece.bpe.model}
dict=${DICT:-$(dirname "$XLMR")/dict.txt}
need_folder RAW "$raw"
need_file XLMR "$XLMR"
need_file SPM "$spm"
need_file DICT "$dict"
[[ -z ${TRAIN-} ]] || need_file TRAIN "$TRAIN"

# The settings of the paper's appendix for XNLI could not be had.  As the training rows are
# MNLI's, those of R3F on MNLI stand in for them, and every choice below is ours:
# [CM3]   the CM3 paper of the same first author (arXiv 2201.07520), tables 11 and 12, MNLI: 8
#         sentences, which are taken for those of one GPU in 4, since the updates are 10 epochs
#         of 392,702 rows then.  fairseq's own recipe for MNLI has 32 and the same updates.
# [RXF]   fairseq 0.12.2, examples/rxf: README, or the criterion's defaults.
spread 4 1
train_flags=(
  --finetune-from-model "$XLMR"
  --task sentence_prediction --num-classes 3 --init-token 0 --separator-token 2
  --batch-size 8 --required-batch-size-multiple 1                                   # [CM3]
  --dropout 0.1 --attention-dropout 0.1                                             # [CM3] [RXF]
  --optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --weight-decay 0.01  # [CM3]
  --lr-scheduler polynomial_decay --lr 5e-06 --warmup-updates 7432                  # [CM3]
  --total-num-update 123873 --max-update 123873                                     # [CM3]
  --clip-norm 0.0 --find-unused-parameters                                          # [RXF]
  # Every row counts, in validation as in training.
  --shorten-method truncate
  # Chosen by the English development rows.
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric
  # Best, last and one more: a stopped run loses 5,000 updates at most.
  --no-epoch-checkpoints --save-interval-updates 5000 --keep-interval-updates 1
)
noise=(
  --criterion sentence_prediction_r3f --eps 1e-05 --noise-type uniform # [CM3] [RXF]
  --r3f-lambda 1.0 # [RXF]; [CM3] searches 0.1, 0.5, 1 and 5
)
case $method in
  plain) method_flags=(--criterion sentence_prediction_r3f --r3f-lambda 0) ;;
  r3f) method_flags=("${noise[@]}") ;;
  r4f) method_flags=("${noise[@]}" --spectral-norm-classification-head) ;;
  *) fail "METHOD $method: give plain, r3f or r4f" ;;
esac

on_cpu=()
[[ $smoke == no && " ${more[*]-} " != *" --cpu "* ]] || on_cpu=(--cpu)
if ((${#on_cpu[@]})); then
  train_flags+=("${on_cpu[@]}")
else
  train_flags+=(--fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128) # [RXF]
fi
if [[ $smoke == yes ]]; then
  batch_flags+=(--update-freq 1)
  train_flags+=(
    --lr 1e-3 --warmup-updates 2 --total-num-update 12 --max-update 12
    --save-interval-updates 6 --num-workers 0 --log-interval 4
  )
fi

# The sizes of the model are in its file; one that is not there yet is taken for XLM-R large.
model_flags=(--arch roberta_large)
if [[ -f $XLMR ]]; then
  flags=$(python -m rxf.lab.recipes.architecture "$XLMR")
  read -r -a model_flags <<<"$flags"
fi

run=$work
stage prepare "$data/prepare.json" rxf prepare xnli "$raw" "$data" --spm "$spm" --dict "$dict" \
  ${TRAIN:+--train "$TRAIN"} ${TRAIN_ROWS:+--train-rows "$TRAIN_ROWS"}
new_data=$stale
new_scores=no
for seed in ${SEEDS:-1}; do
  run=$work/$method-$seed
  stale=$new_data
  stage train "$run/checkpoints/checkpoint_best.pt" \
    "${trainer[@]}" "$data" --user-dir rxf --save-dir "$run/checkpoints" --seed "$seed" \
    "${model_flags[@]}" "${train_flags[@]}" "${method_flags[@]}" "${batch_flags[@]}" \
    ${more[@]+"${more[@]}"}
  stage evaluate "$run/evaluation/scores.json" \
    rxf evaluate "$run/checkpoints/checkpoint_best.pt" "$data" "$run/evaluation" \
    --overwrite ${on_cpu[@]+"${on_cpu[@]}"}
  [[ $stale == no ]] || new_scores=yes
done
run=$work
stale=$new_scores
stage table "$work/table.md" python "$here/table.py" "$work"
