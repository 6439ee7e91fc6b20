# What the recipes of this folder share; they source it, it is not run by itself.
#
# A recipe calls `arguments` and then `recipe`, with these set in between:
#   raw data run     folders: official files, what `rxf prepare` makes of them, all the rest
#   prepare_flags train_flags generate_flags     arrays
#   trainer batch_flags                          arrays of `spread`
#   reference        what to score against, unless it is the prepared test.reference
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
stages=(prepare train generate score)

# Four stages from raw files to ROUGE.
recipe() {
  need_folder RAW "$raw"
  stage prepare "$data/prepare.json" rxf prepare summarization "$raw" "$data" \
    ${BPE:+--bpe-dir "$BPE"} ${prepare_flags[@]+"${prepare_flags[@]}"}
  local against=${reference:-$data/test.reference}
  need_file "nothing to score against (has RAW a test split?)" "$against"
  stage train "$run/checkpoints/checkpoint_best.pt" \
    "${trainer[@]}" "$data" --user-dir rxf --save-dir "$run/checkpoints" \
    "${train_flags[@]}" "${batch_flags[@]}" ${more[@]+"${more[@]}"}
  stage generate "$run/test/hypotheses.txt" \
    rxf generate "$run/checkpoints/checkpoint_best.pt" "$data" "$run/test" \
    --overwrite "${generate_flags[@]}"
  stage score "$run/rouge.json" \
    rxf rouge "$against" "$run/test/hypotheses.txt" --json "$run/rouge.json"
}
