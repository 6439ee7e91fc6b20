# What the recipes of this folder share; they source it, it is not run by itself.
#
# A recipe calls `arguments` and then `recipe`, with these set in between:
#   raw data run     folders: official files, what `rxf prepare` makes of them, all the rest
#   prepare_flags train_flags generate_flags     arrays
#   trainer batch_flags                          arrays of `spread`
#   half_precision   array; left out on a CPU
#   reference        what to score against, unless it is the prepared test.reference
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
stages=(prepare train generate score)

# make_stand_in RAW: files in the official form and a tiny random BART, for --smoke.
make_stand_in() {
  [[ -f $1/model.pt ]] || python "${BASH_SOURCE[0]%/*}/stand_in.py" "$1"
  BART=$1/model.pt
  BPE=$1/bpe
  PRETRAINED=
  MIN_COUNT=20
  read -r -a smoke_flags <"$1/model_flags"
  smoke_flags+=(
    --cpu --num-workers 0 --max-update 4 --total-num-update 4 --warmup-updates 1
    --update-freq 1 --log-format simple --log-interval 1
  )
}

# Four stages from raw files to ROUGE.
recipe() {
  need_folder RAW "$raw"
  local on_cpu=()
  if [[ " ${smoke_flags[*]-} ${more[*]-} " == *" --cpu "* ]]; then
    on_cpu=(--cpu)
    half_precision=()
  fi
  stage prepare "$data/prepare.json" rxf prepare summarization "$raw" "$data" \
    ${BPE:+--bpe-dir "$BPE"} ${prepare_flags[@]+"${prepare_flags[@]}"}
  local against=${reference:-$data/test.reference}
  need_file "nothing to score against (has RAW a test split?)" "$against"
  stage train "$run/checkpoints/checkpoint_best.pt" \
    "${trainer[@]}" "$data" --user-dir rxf --save-dir "$run/checkpoints" \
    "${train_flags[@]}" ${half_precision[@]+"${half_precision[@]}"} "${batch_flags[@]}" \
    ${smoke_flags[@]+"${smoke_flags[@]}"} ${more[@]+"${more[@]}"}
  stage generate "$run/test/hypotheses.txt" \
    rxf generate "$run/checkpoints/checkpoint_best.pt" "$data" "$run/test" \
    --overwrite "${generate_flags[@]}" ${on_cpu[@]+"${on_cpu[@]}"}
  stage score "$run/rouge.json" \
    rxf rouge "$against" "$run/test/hypotheses.txt" --json "$run/rouge.json"
}
