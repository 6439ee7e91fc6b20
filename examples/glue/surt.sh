#!/usr/bin/env bash
# RTE with SURT: masked language modelling on the task's own text, then plain fine-tuning from
# there. Stop it where you like, run it again and it goes on.
#   ROBERTA=/path/to/roberta.large/model.pt examples/glue/surt.sh DATA OUT [FLAGS OF BOTH STAGES]
# DATA comes from `rxf prepare glue`. Flags behind OUT (the model's size, --cpu) go to both stages
# and overrule the recipe's; MLM="..." and FINETUNE="..." in the environment hold words for one
# stage alone, such as MLM="--max-epoch 3" and FINETUNE="--criterion sentence_prediction_r3f".
#
# OUT gets text/ (what stage 1 reads), mlm/ (stage 1) and finetuned/ (stage 2). A finished
# stage 1 is not run again, whatever the flags: for other ones give another OUT.
#
# The paper's settings could not be had. Those of stage 1 are ours: fairseq's own masking, and
# 10 epochs of RTE's 2,490 rows in batches of 16, which are 1,560 updates. Those of stage 2 are of
# rte.sh with METHOD r3f, but without R3F and in fp32: on a GPU add --fp16 --fp16-init-scale 4.
set -euo pipefail

usage="usage: ROBERTA=model.pt $0 DATA OUT [FLAGS OF BOTH STAGES]"
data=${1:?$usage}
out=${2:?$usage}
shift 2
: "${ROBERTA:?set ROBERTA to the pre-trained model.pt}"
read -r -a mlm_flags <<<"${MLM-}"
read -r -a finetune_flags <<<"${FINETUNE-}"

both=(
  --user-dir rxf --arch roberta_large --dropout 0.1 --attention-dropout 0.1 --max-positions 512
  --optimizer adam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --weight-decay 0.1 --clip-norm 0.0
  --lr-scheduler polynomial_decay --required-batch-size-multiple 1 --max-epoch 10
  --no-epoch-checkpoints --find-unused-parameters
)

rxf prepare surt "$data" "$out/text"

if [[ ! -f $out/mlm/done ]]; then
  fairseq-train "$out/text" "${both[@]}" --save-dir "$out/mlm" --finetune-from-model "$ROBERTA" \
    --task masked_lm --sample-break-mode eos --criterion masked_lm --mask-prob 0.15 \
    --batch-size 16 --skip-invalid-size-inputs-valid-test \
    --lr 5e-05 --total-num-update 1560 --warmup-updates 94 \
    "$@" ${mlm_flags[@]+"${mlm_flags[@]}"}
  touch "$out/mlm/done"
fi

exec fairseq-train "$data" "${both[@]}" --save-dir "$out/finetuned" \
  --finetune-from-model "$out/mlm/checkpoint_last.pt" \
  --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 \
  --criterion sentence_prediction --batch-size 8 --max-tokens 4400 \
  --lr 1e-05 --total-num-update 3120 --warmup-updates 187 \
  --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric \
  "$@" ${finetune_flags[@]+"${finetune_flags[@]}"}
