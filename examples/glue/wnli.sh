#!/usr/bin/env bash
# WNLI, from raw files to GLUE's metric.
#   ROBERTA=model.pt examples/glue/wnli.sh [--dry-run] RAW WORK METHOD [MORE FLAGS]
#   examples/glue/wnli.sh --smoke WORK METHOD [MORE FLAGS]
# METHOD is plain, r3f, r4f, freelb or recadam.  Runs go to WORK/METHOD; MORE FLAGS go to
# fairseq-train last and so overrule these.  README.md beside this file says more.
#
# Written by `python -m rxf.lab.recipes --write` from rxf/lab/recipes/glue_settings.py.
#
# [RXF] fairseq 0.12.2, README of examples/rxf: its command, for RTE
# [RoBERTa] fairseq 0.12.2, examples/roberta/config/finetuning
# [FreeLB] zhuchen03/FreeLB, commit eb23701, launch scripts of fairseq-RoBERTa; its S climbs are
#   --freelb-steps S + 1
# [rxf] what turns the method on here (no setting of a paper)
# [ours] not known from any source, with what is unknown and why this value stands in
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
glue_arguments WNLI "$@"

task_flags=(
  --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric --max-positions 512
  --required-batch-size-multiple 1 --find-unused-parameters --no-epoch-checkpoints
)
case $method in
  plain)
    settings_of RoBERTa-large roberta_large
    # [ours] unknown: fairseq's recipe for WNLI is another task (examples/roberta/wsc); as the other
    # small tasks: 10 epochs, of 635 rows
    batch_of 16 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f --r3f-lambda 0.0
      # [ours] unknown: fairseq's recipe for WNLI is another task (examples/roberta/wsc); as the
      # other small tasks: 10 epochs, of 635 rows
      --max-tokens 4400 --dropout 0.1 --attention-dropout 0.1 --optimizer adam
      --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 0.0
      --lr-scheduler polynomial_decay --lr 1e-05 --batch-size 16 --total-num-update 400
      --max-update 400 --warmup-updates 24 --max-epoch 10
    )
    half_precision=(
      # [ours] unknown: fairseq's recipe for WNLI is another task (examples/roberta/wsc); as the
      # other small tasks: 10 epochs, of 635 rows
      --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128
    )
    ;;
  r3f)
    settings_of RoBERTa-large roberta_large
    # [ours] unknown: no source has WNLI; as RTE: 10 epochs, of 635 rows
    batch_of 8 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f
      # [ours] unknown: which noise of {uniform, normal} the paper chose for the task; as in [RXF]
      --noise-type uniform
      # [ours] unknown: which lambda of {0.1, 0.5, 1, 5} the paper chose for the task; as in [RXF]
      --r3f-lambda 0.7
      # [ours] unknown: no source has WNLI; as RTE: 10 epochs, of 635 rows
      --eps 1e-05 --dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06
      --weight-decay 0.1 --lr-scheduler polynomial_decay --lr 1e-05 --batch-size 8
      --total-num-update 800 --warmup-updates 48 --max-epoch 10
      # [ours] unknown: not in CM3's tables; as in [RXF]
      --max-tokens 4400 --attention-dropout 0.1 --clip-norm 0.0
    )
    half_precision=(
      # [ours] unknown: not in CM3's tables; as in [RXF]
      --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128
    )
    ;;
  r4f)
    settings_of RoBERTa-large roberta_large
    # [ours] unknown: no source has WNLI; as RTE: 10 epochs, of 635 rows
    batch_of 8 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f --spectral-norm-classification-head
      # [ours] unknown: which noise the paper chose for R4F on the task; R3F's in [RXF]
      --noise-type uniform
      # [ours] unknown: which lambda the paper chose for R4F on the task; R3F's in [RXF]
      --r3f-lambda 0.7
      # [ours] unknown: no source has WNLI; as RTE: 10 epochs, of 635 rows
      --eps 1e-05 --dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06
      --weight-decay 0.1 --lr-scheduler polynomial_decay --lr 1e-05 --batch-size 8
      --total-num-update 800 --warmup-updates 48 --max-epoch 10
      # [ours] unknown: not in CM3's tables; as in [RXF]
      --max-tokens 4400 --attention-dropout 0.1 --clip-norm 0.0
    )
    half_precision=(
      # [ours] unknown: not in CM3's tables; as in [RXF]
      --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128
    )
    ;;
  freelb)
    settings_of RoBERTa-large roberta_large
    # [ours] unknown: no source has WNLI; RTE's of [FreeLB]; 10 epochs of 635 rows
    batch_of 2 8 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_freelb
      # [ours] unknown: not noted of the scripts; as in [RoBERTa]
      --max-tokens 4400
      # [ours] unknown: no source has WNLI; RTE's of [FreeLB]; 10 epochs of 635 rows
      --dropout 0.1 --attention-dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.999)'
      --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 0.0 --lr-scheduler polynomial_decay
      --max-epoch 10 --lr 1e-05 --batch-size 2 --total-num-update 400 --warmup-updates 24
      --freelb-steps 4 --freelb-adv-lr 0.06 --freelb-init-mag 0.16 --freelb-max-norm 0.14
    )
    half_precision=(
      # [ours] unknown: not noted of the scripts; as in [RoBERTa]
      --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128
    )
    ;;
  recadam)
    settings_of BERT-base roberta_base
    # [ours] unknown: no source has WNLI; as RTE: 100 epochs, of 635 rows; the smallest t0 for so
    # few updates
    batch_of 32 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f --r3f-lambda 0.0 --optimizer recadam
      # [ours] unknown: left to the model there; RoBERTa's own
      --dropout 0.1 --attention-dropout 0.1
      # [ours] unknown: no source has WNLI; as RTE: 100 epochs, of 635 rows; the smallest t0 for so
      # few updates
      --lr 2e-05 --batch-size 32 --warmup-updates 0 --recadam-anneal-fun sigmoid
      --recadam-anneal-t0 250 --recadam-pretrain-cof 5000.0 --recadam-init pretrained
      --adam-betas '(0.9, 0.999)' --adam-eps 1e-08 --weight-decay 0.0 --clip-norm 1.0
      --lr-scheduler polynomial_decay --total-num-update 2000 --max-update 2000
      # [ours] unknown: which k of {0.05, 0.1, 0.2, 0.5, 1} and t0 of {250, 500, 1000} it chose for
      # the task; the largest of each, the longest pull
      --recadam-anneal-k 1.0
    )
    half_precision=()
    ;;
  *) fail "METHOD $method: give plain, r3f, r4f, freelb or recadam" ;;
esac
glue_recipe
