#!/usr/bin/env bash
# The runs behind RESULTS.md, "RecAdam and component-wise clipping": two tasks, four methods.
#   ROBERTA=.../roberta_mini/model.pt examples/glue/recadam_runs.sh DATA OUT [SEED ...]
# DATA holds RTE and CoLA as `rxf prepare glue` makes them; seeds are 1 to 5 unless named.
# One process at a time, each with the threads that OMP_NUM_THREADS says (1 unless set).
# A run leaves OUT/TASK/METHOD-SEED.log; what ran to its end is not run again, what was
# stopped starts anew.  `python examples/glue/recadam_table.py OUT` reads the logs.
#
# All methods are one optimizer with other flags, so that every log holds anchor_distance:
#   plain       lambda is 1 throughout, which is Adam
#   cwgnc       the same with each tensor's gradient clipped to 0.05
#   recadam-pi  RecAdam from the pre-trained weights
#   recadam-ri  RecAdam from random weights, as its released script has it unless told
# lr x gamma is 0.1, as published (2e-5 x 5000); t0 and k are for runs as short as these.
set -euo pipefail

usage="usage: ROBERTA=model.pt $0 DATA OUT [SEED ...]"
data=${1:?$usage}
out=${2:?$usage}
shift 2
: "${ROBERTA:?set ROBERTA to the pre-trained model.pt}"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
seeds=("$@")
[ $# -gt 0 ] || seeds=(1 2 3 4 5)

# Sets `flags` to what a task has for itself.
flags_of_task() {
  case $1 in
    RTE)
      flags=(--batch-size 8 --max-update 200 --total-num-update 200 --warmup-updates 12
        --validate-interval-updates 25 --recadam-anneal-t0 100
        --best-checkpoint-metric accuracy)
      ;;
    CoLA)
      flags=(--batch-size 16 --max-update 480 --total-num-update 480 --warmup-updates 29
        --validate-interval-updates 60 --recadam-anneal-t0 150
        --report-mcc --best-checkpoint-metric mcc)
      ;;
  esac
}

# Sets `method_flags`.
flags_of_method() {
  case $1 in
    plain) method_flags=(--recadam-anneal-fun constant) ;;
    cwgnc) method_flags=(--recadam-anneal-fun constant --component-clip-norm 0.05) ;;
    recadam-pi) method_flags=(--recadam-anneal-k 0.1 --recadam-init pretrained) ;;
    recadam-ri) method_flags=(--recadam-anneal-k 0.1 --recadam-init random) ;;
  esac
}

# train TASK METHOD SEED LOG
train() {
  flags_of_task "$1"
  flags_of_method "$2"
  fairseq-train "$data/$1" --user-dir rxf --save-dir "$out/unused" --no-save --seed "$3" \
    --finetune-from-model "$ROBERTA" --cpu --num-workers 0 \
    --task sentence_prediction --num-classes 2 --init-token 0 --separator-token 2 \
    --criterion sentence_prediction_r3f --r3f-lambda 0 --maximize-best-checkpoint-metric \
    --arch roberta --encoder-layers 4 --encoder-embed-dim 192 --encoder-ffn-embed-dim 768 \
    --encoder-attention-heads 4 --max-positions 512 --dropout 0.1 --attention-dropout 0.1 \
    --required-batch-size-multiple 1 --batch-size-valid 16 \
    --optimizer recadam --adam-betas "(0.9, 0.98)" --adam-eps 1e-06 --weight-decay 0.01 \
    --recadam-pretrain-cof 333 --clip-norm 0.0 --lr-scheduler polynomial_decay --lr 3e-04 \
    --log-format json --log-interval 10 --log-file "$4" "${flags[@]}" "${method_flags[@]}"
}

failed=0
for seed in "${seeds[@]}"; do
  for task in RTE CoLA; do
    mkdir -p "$out/$task"
    for method in plain recadam-pi recadam-ri cwgnc; do
      log=$out/$task/$method-$seed.log
      if grep -qs "done training" "$log"; then
        continue
      fi
      rm -f "$log"
      echo "$(date +%T) $log"
      if ! train "$task" "$method" "$seed" "$log" >"$log.out" 2>&1; then
        echo "failed: see $log.out" >&2
        failed=1
      fi
    done
  done
done
exit "$failed"
