# What the recipes of examples/ share: stages that are done once, and several processes.  They
# source it, it is not run by itself.
#
# A recipe calls `arguments`, sets `run` (the folder of all it makes beside the data) and
# `stages` (their names, in order), and then calls `stage` for each.  A stage that was done with
# the same command is skipped; one that is done again, or was given other flags, makes those
# behind it run again too.
#
# GPUS      on this machine, a process each (1 unless set)
# NODES     machines (1 unless set); each runs the same command, with NODE_RANK, MASTER_ADDR and
#           MASTER_PORT as torchrun takes them, and WORK on a disk that all of them see

dry_run=no
smoke=no
stale=no
positional=()
more=()

fail() {
  echo "${0##*/}: error: $*" >&2
  exit 1
}

# arguments COUNT USAGE "$@": takes --dry-run off, then COUNT words into `positional` and the
# rest into `more`, the flags that go to fairseq-train last and so overrule the recipe's.
# --smoke stands in place of RAW, the first of them: `smoke` is yes, RAW becomes WORK/stand-in
# and `make_stand_in`, which the recipe defines before it calls this, is called to fill it.
arguments() {
  local count=$1 usage="usage: $2"
  shift 2
  if [[ ${1-} == --dry-run ]]; then
    dry_run=yes
    shift
  elif [[ ${1-} == --smoke ]] && declare -F make_stand_in >/dev/null; then
    smoke=yes
    shift
    (($# < 1)) || set -- "$1/stand-in" "$@"
  fi
  if (($# < count)) || [[ ${1-} == -* ]]; then
    echo "$usage" >&2
    exit 2
  fi
  positional=("${@:1:count}")
  more=("${@:count + 1}")
  [[ $smoke == no ]] || make_stand_in "${positional[0]}"
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
  elif ((${NODE_RANK:-0} > 0)); then
    # The first machine does the rest, and keeps the books.
    [[ $name != train ]] || "$@"
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

# spread UPDATE_FREQ PROCESSES: sets `trainer`, the command of as many processes as GPUS and NODES
# say, with the --update-freq at which they make the batch that UPDATE_FREQ makes with PROCESSES.
spread() {
  local gpus=${GPUS:-1} nodes=${NODES:-1} name
  for name in GPUS NODES; do
    [[ ${!name:-1} =~ ^[1-9][0-9]*$ ]] || fail "$name=${!name}: give a number from 1"
  done
  local world=$((gpus * nodes)) batches=$(($1 * $2))
  ((batches % world == 0)) ||
    fail "GPUS=$gpus NODES=$nodes: $world processes cannot make the recipe's batch, which is" \
      "$batches of one process's: give a divisor of $batches"
  trainer=(fairseq-train)
  if ((world > 1)); then
    torchrun_flags "$gpus" "$nodes"
    trainer=(torchrun "${torchrun[@]}" "$(command -v fairseq-train || echo fairseq-train)")
  fi
  batch_flags=(--distributed-world-size "$world" --update-freq $((batches / world)))
}

torchrun_flags() {
  torchrun=(--nproc_per_node "$1" --standalone)
  (($2 == 1)) || torchrun=(
    --nproc_per_node "$1" --nnodes "$2"
    --node_rank "${NODE_RANK:?NODES=$2: set NODE_RANK, from 0, on each machine}"
    --master_addr "${MASTER_ADDR:?NODES=$2: set MASTER_ADDR to the first machine}"
    --master_port "${MASTER_PORT:-29500}"
  )
}
