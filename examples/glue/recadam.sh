#!/usr/bin/env bash
# RTE with RecAdam, in the form that resumes: run it again and it goes on.
#   ROBERTA=/path/to/roberta.base/model.pt examples/glue/recadam.sh DATA SAVE_DIR [MORE FLAGS]
# DATA comes from `rxf prepare glue`. Flags behind it overrule the recipe's: the paper's main
# results start at random weights, which is --recadam-init random (its released script does so
# unless told; here the pre-trained weights are the start unless told).
#
# The settings are those of RecAdam's README (Sanyuan-Chen/RecAdam) for BERT-base, the nearest
# model fairseq has being RoBERTa-base: lr 2e-5, batch 32, 7,800 updates on RTE (13,400 on CoLA,
# 9,000 on STS-B, 11,500 on MRPC), gamma 5000. k is selected from {0.05, 0.1, 0.2, 0.5, 1} and
# t0 from {250, 500, 1000}; 1 and 1000 are those of its printed command, for STS-B. Betas,
# epsilon, no weight decay, no warm-up, linear decay and the global clip at 1 are the defaults of
# its run_glue_with_RecAdam.py. Unlike there, rows longer than 128 tokens are not cut.
#
# lr x gamma is the share of the way back that the pull goes in an update, 0.1 here: from 2 on
# it diverges and is refused, so lower --recadam-pretrain-cof where you raise --lr.
set -euo pipefail

data=${1:?usage: ROBERTA=model.pt $0 DATA SAVE_DIR [MORE FLAGS]}
save_dir=${2:?usage: ROBERTA=model.pt $0 DATA SAVE_DIR [MORE FLAGS]}
shift 2

exec fairseq-train "$data" --user-dir rxf --save-dir "$save_dir" \
  --finetune-from-model "${ROBERTA:?set ROBERTA to the pre-trained model.pt}" \
  --max-positions 512 --batch-size 32 --required-batch-size-multiple 1 \
  --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 \
  --arch roberta_base --dropout 0.1 --attention-dropout 0.1 --criterion sentence_prediction \
  --optimizer recadam --recadam-anneal-fun sigmoid --recadam-anneal-k 1 --recadam-anneal-t0 1000 \
  --recadam-pretrain-cof 5000 --recadam-init pretrained \
  --adam-betas "(0.9, 0.999)" --adam-eps 1e-08 --weight-decay 0.0 --clip-norm 1.0 \
  --lr-scheduler polynomial_decay --lr 2e-05 --total-num-update 7800 --max-update 7800 \
  --no-epoch-checkpoints --find-unused-parameters \
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric "$@"
