#!/usr/bin/env bash
# The paper's RTE recipe with R3F, in the form that resumes: run it again and it goes on.
#   ROBERTA=/path/to/roberta.large/model.pt examples/glue/rte.sh DATA SAVE_DIR [MORE FLAGS]
# DATA comes from `rxf prepare glue`. Flags behind it overrule the recipe's: for R4F add
# --spectral-norm-classification-head, for plain fine-tuning --r3f-lambda 0.
#
# All settings are those of the README of fairseq's examples/rxf, but for the way the
# pre-trained file is named: with its --restore-file and --reset-* flags a second run starts
# again at update 0 and overwrites checkpoint_last.pt.
set -euo pipefail

data=${1:?usage: ROBERTA=model.pt $0 DATA SAVE_DIR [MORE FLAGS]}
save_dir=${2:?usage: ROBERTA=model.pt $0 DATA SAVE_DIR [MORE FLAGS]}
shift 2

exec fairseq-train "$data" --user-dir rxf --save-dir "$save_dir" \
  --finetune-from-model "${ROBERTA:?set ROBERTA to the pre-trained model.pt}" \
  --max-positions 512 --batch-size 8 --max-tokens 4400 --required-batch-size-multiple 1 \
  --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 \
  --arch roberta_large --dropout 0.1 --attention-dropout 0.1 \
  --criterion sentence_prediction_r3f --noise-type uniform --r3f-lambda 0.7 \
  --optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 0.0 \
  --lr-scheduler polynomial_decay --lr 1e-05 --total-num-update 3120 --warmup-updates 187 \
  --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128 \
  --max-epoch 10 --find-unused-parameters \
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric "$@"
