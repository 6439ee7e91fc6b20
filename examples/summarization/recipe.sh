# What the recipes of this folder share; they source it, it is not run by itself.
#
# A recipe calls `arguments` and then `recipe`, with these set in between:
#   raw data run     folders: official files, what `rxf prepare` makes of them, all the rest
#   prepare_flags train_flags generate_flags     arrays
#   reference        what to score against, unless it is the prepared test.reference
# A stage that was done with the same command is skipped; one that is done again, or was
# given other flags, makes those behind it run again too.

stages=(prepare train generate score)
dry_run=no
stale=no
positional=()
more=()

fail() {
  echo "${0##*/}: error: $*" >&2
  exit 1
}

# arguments COUNT USAGE "$@": takes --dry-run off, then COUNT words into `positional` and the
# rest into `more`, the flags that go to fairseq-train last and so overrule the recipe's.
arguments() {
  local count=$1 usage="usage: $2"
  shift 2
  if [[ ${1-} == --dry-run ]]; then
    dry_run=yes
    shift
  fi
  if (($# < count)) || [[ ${1-} == -* ]]; then
    echo "$usage" >&2
    exit 2
  fi
  positional=("${@:1:count}")
  more=("${@:count + 1}")
}

# need_file NAME PATH: what NAME names is there.
need_file() {
  [[ $dry_run == yes || -f $2 ]] || fail "$1: there is no file $2"
}

# need_folder NAME PATH
need_folder() {
  [[ $dry_run == yes || -d $2 ]] || fail "$1: there is no folder $2"
}

# quoted WORDS: as a person would type them.
quoted() {
  local word line=
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,+@%-]+$ ]]; then
      line+=" $word"
    else
      line+=" ${word@Q}"
    fi
  done
  echo "${line# }"
}

# stage NAME PRODUCT COMMAND: runs the command, which makes the file PRODUCT.
stage() {
  local name=$1 product=$2 line
  shift 2
  line=$(quoted "$@")
  if [[ $dry_run == yes ]]; then
    echo "$line"
  elif [[ $stale == no && -f $product && $(remembered "$name") == "$line" ]]; then
    echo "$name: done before with the same command"
  else
    echo "$name: $line"
    [[ $name != train ]] || own_checkpoints "$line"
    stale=yes
    forget_from "$name"
    "$@"
    [[ -f $product ]] || fail "$product: is not there, though stage $name has ended"
    remember "$name" "$line"
  fi
}

remembered() { cat "$run/.done/$1" 2>/dev/null || true; }

remember() {
  mkdir -p "$run/.done"
  echo "$2" >"$run/.done/$1"
}

# forget_from NAME: this stage and those behind it are to be done again.
forget_from() {
  local name behind=no
  for name in "${stages[@]}"; do
    [[ $name != "$1" ]] || behind=yes
    [[ $behind == no ]] || rm -f "$run/.done/$name"
  done
}

# own_checkpoints LINE: fairseq-train goes on from the checkpoints it finds, whatever made them.
own_checkpoints() {
  if [[ -f $run/checkpoints/checkpoint_last.pt && $(remembered started) != "$1" ]]; then
    fail "$run/checkpoints: are of other flags than these: give another WORK, or delete" \
      "$run/checkpoints"
  fi
  remember started "$1"
}

# Four stages from raw files to ROUGE.
recipe() {
  need_folder RAW "$raw"
  stage prepare "$data/prepare.json" rxf prepare summarization "$raw" "$data" \
    ${BPE:+--bpe-dir "$BPE"} ${prepare_flags[@]+"${prepare_flags[@]}"}
  local against=${reference:-$data/test.reference}
  need_file "nothing to score against (has RAW a test split?)" "$against"
  stage train "$run/checkpoints/checkpoint_best.pt" \
    fairseq-train "$data" --user-dir rxf --save-dir "$run/checkpoints" \
    "${train_flags[@]}" ${more[@]+"${more[@]}"}
  stage generate "$run/test/hypotheses.txt" \
    rxf generate "$run/checkpoints/checkpoint_best.pt" "$data" "$run/test" \
    --overwrite "${generate_flags[@]}"
  stage score "$run/rouge.json" \
    rxf rouge "$against" "$run/test/hypotheses.txt" --json "$run/rouge.json"
}
