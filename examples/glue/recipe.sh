# What the task scripts of this folder share; they source it, it is not run by itself.
#
# A script calls `glue_arguments`, sets `task_flags`, and by `method`: `settings_of`, `batch_of`,
# `method_flags` and `half_precision`; then it calls `glue_recipe`.
here=$(dirname "${BASH_SOURCE[0]}")
source "$here/../stages.sh"
stages=(prepare train evaluate score)
# Tasks that are often started from a model fine-tuned on MNLI.
from_mnli=" RTE MRPC STS-B "

# glue_arguments TASK "$@": RAW WORK METHOD, and the file that training starts from.
glue_arguments() {
  task=$1
  shift
  arguments 3 "ROBERTA=model.pt $0 [--dry-run] RAW WORK METHOD [MORE FLAGS], or $0 --smoke WORK\
 METHOD [MORE FLAGS]" "$@"
  raw=${positional[0]}
  method=${positional[2]}
  if [[ -n ${MNLI:-} ]]; then
    [[ $from_mnli == *" $task "* ]] ||
      fail "MNLI: $task does not start from a model fine-tuned on MNLI: unset MNLI"
    need_file MNLI "$MNLI"
  else
    need_file ROBERTA "${ROBERTA:?set ROBERTA to the pre-trained model.pt}"
  fi
  start=${MNLI:-$ROBERTA}
  data=${positional[1]}/data
  run=${positional[1]}/$method${MNLI:+-mnli}
}

# settings_of MODEL ARCH: the model whose settings a method's flags are, and fairseq's nearest.
settings_of() {
  model=$1
  nearest=$2
}

# batch_of SENTENCES UPDATE_FREQ PROCESSES: the batch of the settings, made by as many processes as
# GPUS and NODES say: in fewer steps, and where that is not enough of fewer sentences each.
batch_of() {
  local sentences=$1 steps=$(($2 * $3)) world=1
  [[ ! ${GPUS:-1}/${NODES:-1} =~ ^[1-9][0-9]*/[1-9][0-9]*$ ]] ||
    world=$((${GPUS:-1} * ${NODES:-1}))
  while ((steps % world && sentences % 2 == 0)); do
    sentences=$((sentences / 2))
    steps=$((steps * 2))
  done
  spread "$steps" 1
  ((sentences == $1)) || batch_flags+=(--batch-size "$sentences")
}

# The model of the file that training starts from, whatever its size.
architecture() {
  local flags="--arch $nearest"
  if [[ -f $start ]]; then
    flags=$(python -m rxf.lab.recipes.architecture "$start")
  fi
  read -r -a arch_flags <<<"$flags"
  model_here=${flags#--arch }
  [[ $model_here == roberta_large && $model == RoBERTa-large ]] ||
    echo "note: the settings are those of $model; the model here is $model_here" >&2
}

# make_stand_in RAW: files in the official form and a tiny random model, for --smoke.
make_stand_in() {
  [[ -f $1/model.pt ]] || python "$here/stand_in.py" "$task" "$1"
  ROBERTA=$1/model.pt
  BPE=$1/bpe
  smoke_flags=(
    --cpu --num-workers 0 --batch-size 8 --max-epoch 2 --max-update 6 --total-num-update 6
    --warmup-updates 1 --log-format simple --log-interval 1
  )
}

# Four stages from raw files to GLUE's metric.
glue_recipe() {
  local best=$run/checkpoints/checkpoint_best.pt evaluated=$run/evaluated on_cpu=()
  need_folder RAW "$raw"
  architecture
  if [[ " ${smoke_flags[*]-} ${more[*]-} " == *" --cpu "* ]]; then
    on_cpu=(--cpu)
    half_precision=()
  fi
  [[ -z ${MNLI:-} ]] ||
    echo "note: starts from the MNLI model $MNLI; its head is not taken, $task's is made anew" >&2
  stage prepare "$data/prepare.json" \
    rxf prepare glue "$raw" "$task" "$data" ${BPE:+--bpe-dir "$BPE"}
  stage train "$best" \
    "${trainer[@]}" "$data" --user-dir rxf --save-dir "$run/checkpoints" \
    --finetune-from-model "$start" "${task_flags[@]}" "${arch_flags[@]}" "${method_flags[@]}" \
    ${half_precision[@]+"${half_precision[@]}"} "${batch_flags[@]}" \
    ${smoke_flags[@]+"${smoke_flags[@]}"} ${more[@]+"${more[@]}"}
  stage evaluate "$evaluated/scores.json" \
    rxf evaluate "$best" "$data" "$evaluated" --overwrite ${on_cpu[@]+"${on_cpu[@]}"}
  stage score "$run/scores.json" \
    python -m rxf.lab.recipes.score "$evaluated/scores.json" "$run/scores.json" --task "$task" \
    --method "$method" --settings-of "$model" --model "$model_here" --start "$start" \
    ${MNLI:+--from-mnli}
}
