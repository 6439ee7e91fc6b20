#!/usr/bin/env bash
# RTE with component-wise gradient norm clipping, in the form that resumes: run it again and it
# goes on.
#   ROBERTA=/path/to/roberta.large/model.pt examples/glue/cwgnc.sh DATA SAVE_DIR [MORE FLAGS]
# DATA comes from `rxf prepare glue`. Flags behind it overrule the recipe's: for the same without
# clipping add --component-clip-norm 0.
#
# The settings are those of run.sh of the released code (yangalan123/FineTuningStability) for
# models of BERT-large's size: lr 2e-5, batch 16, 3 epochs, which on RTE are 468 updates, no
# global clip; each parameter's gradient is clipped to 0.05, the threshold of {0.01, 0.05, 0.1,
# 0.5, 1, 5} that it compares with none. Betas, epsilon, no weight decay, no warm-up and linear
# decay are the defaults of the trainer that it builds on. Unlike there, rows longer than 128
# tokens are not cut. For another task than RTE give its --total-num-update, 3 x rows / 16.
#
# Adam divides by the size of recent gradients, so a threshold that every gradient exceeds alike
# changes little: the log says as clipped_share how many parameters were clipped.
set -euo pipefail

data=${1:?usage: ROBERTA=model.pt $0 DATA SAVE_DIR [MORE FLAGS]}
save_dir=${2:?usage: ROBERTA=model.pt $0 DATA SAVE_DIR [MORE FLAGS]}
shift 2

exec fairseq-train "$data" --user-dir rxf --save-dir "$save_dir" \
  --finetune-from-model "${ROBERTA:?set ROBERTA to the pre-trained model.pt}" \
  --max-positions 512 --batch-size 16 --required-batch-size-multiple 1 \
  --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 \
  --arch roberta_large --dropout 0.1 --attention-dropout 0.1 --criterion sentence_prediction \
  --optimizer cwgnc_adam --component-clip-norm 0.05 --component-clip-group tensor \
  --adam-betas "(0.9, 0.999)" --adam-eps 1e-08 --weight-decay 0.0 --clip-norm 0.0 \
  --lr-scheduler polynomial_decay --lr 2e-05 --total-num-update 468 --max-epoch 3 \
  --no-epoch-checkpoints --find-unused-parameters \
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric "$@"
