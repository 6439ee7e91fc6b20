# Sourced by the recipes for a laptop: a BART of 2+2 layers, 128 wide.  All settings are ours.

small_bart=(
  --arch bart_base --encoder-layers 2 --decoder-layers 2
  --encoder-embed-dim 128 --encoder-ffn-embed-dim 512
  --encoder-attention-heads 4 --decoder-attention-heads 4
  --max-source-positions 1024 --max-target-positions 1024
  --layernorm-embedding --share-all-embeddings --share-decoder-input-output-embed
)

# small_arguments "$@": RAW WORK METHOD SEED, and what follows from METHOD and PRETRAINED.
small_arguments() {
  arguments 4 "[PRETRAINED=DIR] $0 [--dry-run] RAW WORK plain|r3f SEED [MORE FLAGS], or $0\
 --smoke WORK plain|r3f SEED [MORE FLAGS]" "$@"
  raw=${positional[0]}
  data=${positional[1]}/data
  run=${positional[1]}/${positional[2]}-${positional[3]}
  spread 1 1
  start_flags
  method_flags "${positional[2]}"
  small_flags=(
    "${small_bart[@]}" "${start[@]}" "${method[@]}" --seed "${positional[3]}"
    --task translation --source-lang source --target-lang target --truncate-source
    --dropout 0.1 --attention-dropout 0.1 --label-smoothing 0.1
    --optimizer adam --adam-betas "(0.9, 0.999)" --adam-eps 1e-08
    --weight-decay 0.01 --clip-norm 0.1
    --lr-scheduler polynomial_decay --required-batch-size-multiple 1
    --skip-invalid-size-inputs-valid-test --no-epoch-checkpoints --num-workers 0
  )
}

# From the model of pretrain_small_bart.sh with its dictionary, or from random weights with
# the tokens that stand 20 times in the training split.
start_flags() {
  if [[ -z ${PRETRAINED:-} ]]; then
    prepare_flags=(--min-count 20)
    start=()
    return
  fi
  local made=$PRETRAINED/data
  need_file PRETRAINED "$PRETRAINED/model.pt"
  prepare_flags=(
    --dict "$made/dict.txt" --encoder-json "$made/bpe/encoder.json"
    --vocab-bpe "$made/bpe/vocab.bpe"
  )
  start=(--finetune-from-model "$PRETRAINED/model.pt")
}

method_flags() {
  case $1 in
    plain) method=(--criterion label_smoothed_cross_entropy) ;;
    r3f)
      method=(
        --criterion label_smoothed_cross_entropy_r3f --eps 1e-05 --noise-type normal
        --r3f-reduction sentence --r3f-lambda 0.01
      )
      ;;
    *) fail "METHOD $1: give plain or r3f" ;;
  esac
}
