#!/usr/bin/env bash
# STS-B, from raw files to GLUE's metric.
#   ROBERTA=model.pt examples/glue/sts-b.sh [--dry-run] RAW WORK METHOD [MORE FLAGS]
#   examples/glue/sts-b.sh --smoke WORK METHOD [MORE FLAGS]
# METHOD is plain, r3f, r4f, freelb or recadam.  Runs go to WORK/METHOD; MORE FLAGS go to
# fairseq-train last and so overrule these.  README.md beside this file says more.
# MNLI=checkpoint_best.pt in place of ROBERTA starts from a model fine-tuned on MNLI, with a head
# made anew; such runs go to WORK/METHOD-mnli.
#
# Written by `python -m rxf.lab.recipes --write` from rxf/lab/recipes/glue_settings.py.
#
# [RXF] fairseq 0.12.2, README of examples/rxf: its command, for RTE
# [CM3] the CM3 paper of R3F's first author (arXiv 2201.07520), tables 11 and 12: GLUE with the RXF
#   method (read there; that they are R3F's own is likely, not certain)
# [RoBERTa] fairseq 0.12.2, examples/roberta/config/finetuning
# [FreeLB] zhuchen03/FreeLB, commit eb23701, launch scripts of fairseq-RoBERTa; its S climbs are
#   --freelb-steps S + 1
# [RecAdam] Sanyuan-Chen/RecAdam, commit 505ba3c: README
# [RecAdam code] the same, run_glue_with_RecAdam.py: defaults
# [rxf] what turns the method on here (no setting of a paper)
# [ours] not known from any source, with what is unknown and why this value stands in
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"
glue_arguments STS-B "$@"

task_flags=(
  --task sentence_prediction --num-classes 1 --init-token 0 --separator-token 2 --regression-target
  --report-pearson-and-spearman --best-checkpoint-metric pearson_and_spearman
  --maximize-best-checkpoint-metric --max-positions 512 --required-batch-size-multiple 1
  --find-unused-parameters --no-epoch-checkpoints
)
case $method in
  plain)
    settings_of RoBERTa-large roberta_large
    # [RoBERTa]
    batch_of 16 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f --r3f-lambda 0.0
      # [RoBERTa]
      --max-tokens 4400 --dropout 0.1 --attention-dropout 0.1 --optimizer adam
      --adam-betas '(0.9, 0.98)' --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 0.0
      --lr-scheduler polynomial_decay --lr 2e-05 --batch-size 16 --total-num-update 3598
      --max-update 3598 --warmup-updates 214 --max-epoch 10
    )
    half_precision=(
      # [RoBERTa]
      --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128
    )
    ;;
  r3f)
    settings_of RoBERTa-large roberta_large
    # [ours] unknown: the paper leaves regression out; plain fine-tuning's of [RoBERTa]; eps as in
    # [CM3]
    batch_of 16 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f
      # [ours] unknown: which noise of {uniform, normal} the paper chose for the task; as in [RXF]
      --noise-type uniform
      # [ours] unknown: which lambda of {0.1, 0.5, 1, 5} the paper chose for the task; as in [RXF]
      --r3f-lambda 0.7
      # [ours] unknown: the paper leaves regression out; plain fine-tuning's of [RoBERTa]; eps as in
      # [CM3]
      --eps 1e-05 --dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06
      --weight-decay 0.1 --lr-scheduler polynomial_decay --lr 2e-05 --batch-size 16
      --total-num-update 3598 --max-update 3598 --warmup-updates 214 --max-epoch 10
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
    # [ours] unknown: the paper leaves regression out; plain fine-tuning's of [RoBERTa]; eps as in
    # [CM3]
    batch_of 16 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f --spectral-norm-classification-head
      # [ours] unknown: which noise the paper chose for R4F on the task; R3F's in [RXF]
      --noise-type uniform
      # [ours] unknown: which lambda the paper chose for R4F on the task; R3F's in [RXF]
      --r3f-lambda 0.7
      # [ours] unknown: the paper leaves regression out; plain fine-tuning's of [RoBERTa]; eps as in
      # [CM3]
      --eps 1e-05 --dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.98)' --adam-eps 1e-06
      --weight-decay 0.1 --lr-scheduler polynomial_decay --lr 2e-05 --batch-size 16
      --total-num-update 3598 --max-update 3598 --warmup-updates 214 --max-epoch 10
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
    # [ours] unknown: the scripts' sentences are per GPU; 1 makes about the batch of [RoBERTa]
    batch_of 8 2 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_freelb
      # [ours] unknown: not noted of the scripts; as in [RoBERTa]
      --max-tokens 4400
      # [FreeLB]
      --dropout 0.1 --attention-dropout 0.1 --optimizer adam --adam-betas '(0.9, 0.999)'
      --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 0.0 --lr-scheduler polynomial_decay
      --max-epoch 10 --lr 2e-05 --batch-size 8 --total-num-update 3598 --warmup-updates 214
      --freelb-steps 4 --freelb-adv-lr 0.1 --freelb-init-mag 0.16 --freelb-max-norm 0.28
    )
    half_precision=(
      # [ours] unknown: not noted of the scripts; as in [RoBERTa]
      --fp16 --fp16-init-scale 4 --threshold-loss-scale 1 --fp16-scale-window 128
    )
    ;;
  recadam)
    settings_of BERT-base roberta_base
    # [RecAdam]
    batch_of 32 1 1
    method_flags=(
      # [rxf]
      --criterion sentence_prediction_r3f --r3f-lambda 0.0 --optimizer recadam
      # [ours] unknown: left to the model there; RoBERTa's own
      --dropout 0.1 --attention-dropout 0.1
      # [RecAdam]
      --lr 2e-05 --batch-size 32 --recadam-pretrain-cof 5000.0 --total-num-update 9000
      --max-update 9000
      # [RecAdam code]
      --warmup-updates 0 --recadam-anneal-fun sigmoid --adam-betas '(0.9, 0.999)' --adam-eps 1e-08
      --weight-decay 0.0 --clip-norm 1.0 --lr-scheduler polynomial_decay
      # [ours] unknown: which k of {0.05, 0.1, 0.2, 0.5, 1} and t0 of {250, 500, 1000} it chose for
      # the task; the largest of each, the longest pull
      --recadam-anneal-k 1.0 --recadam-anneal-t0 1000
      # [RecAdam code]; its --start_from_pretrain; by default it starts at random weights
      --recadam-init pretrained
    )
    half_precision=()
    ;;
  *) fail "METHOD $method: give plain, r3f, r4f, freelb or recadam" ;;
esac
glue_recipe
