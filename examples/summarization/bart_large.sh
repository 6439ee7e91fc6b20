# Sourced by the recipes that fine-tune BART-large: what they share.
#
# [BART]  fairseq 0.12.2, examples/bart/README.summarization.md: its CNN/DM command.
# [RXF]   fairseq 0.12.2, examples/rxf: the criterion's own defaults.
# [ours]  neither; said where it stands.
# The paper's own table of settings for summarization was not to be had: no value here is
# claimed to be the paper's unless the recipe says so.

bart_usage() {
  echo "BART=/path/to/bart.large/model.pt $0 [--dry-run] RAW WORK [MORE FLAGS OF fairseq-train]," \
    "or $0 --smoke WORK [MORE FLAGS]"
}

# bart_arguments "$@": the arguments, and the folders below WORK.
bart_arguments() {
  arguments 2 "$(bart_usage)" "$@"
  : "${BART:?set BART to the pre-trained bart.large/model.pt}"
  need_file BART "$BART"
  raw=${positional[0]}
  data=${positional[1]}/data
  run=${positional[1]}
  prepare_flags=()
  bart_flags=(
    # [BART] has --restore-file and --reset-optimizer --reset-dataloader --reset-meters: with
    # these a second run starts again at update 0.  This form goes on.
    --finetune-from-model "$BART"
    # [BART]
    --task translation --source-lang source --target-lang target
    --truncate-source --max-source-positions 1024 --max-target-positions 1024
    --layernorm-embedding --share-all-embeddings --share-decoder-input-output-embed
    --required-batch-size-multiple 1 --arch bart_large
    --dropout 0.1 --attention-dropout 0.1
    --weight-decay 0.01 --optimizer adam --adam-betas "(0.9, 0.999)" --adam-eps 1e-08
    --clip-norm 0.1 --lr-scheduler polynomial_decay
    --skip-invalid-size-inputs-valid-test --find-unused-parameters
    # [ours]: best and last, not 5 GB an epoch.
    --no-epoch-checkpoints
  )
  half_precision=(--fp16) # [BART]
  r3f_flags=(
    --criterion label_smoothed_cross_entropy_r3f --label-smoothing 0.1 # [BART]
    --eps 1e-05 --noise-type normal                                    # [RXF]
    # The released scale: summed over a target's positions, averaged over sentences.
    --r3f-reduction sentence
    # [ours]: the middle of 0.001, 0.01, 0.1, which the paper's appendix is said to search;
    # we have not seen it.  Search it on the validation loss: --r3f-lambda behind WORK.
    --r3f-lambda 0.01
  )
}
