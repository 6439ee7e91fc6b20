#!/usr/bin/env bash
# The runs behind RESULTS.md: fine-tunings of SST-2, and what they leave of the representation.
#   ROBERTA=.../roberta_mini/model.pt examples/probing/probing_runs.sh DATA OUT
# DATA is what probing_data.sh makes.  Stop it where you like: the same command goes on.
#   SEEDS    1-3 unless set, as FIRST-LAST
#   JOBS     runs at a time, a core each unless set
#   STAGES   some of "source surt generalization collapse degradation retention"; else all
#   MORE     words for the fine-tunings of SST-2, as "optimization.max_update=4" to try them;
#            CHAIN_MORE likewise for the chains, as "--updates 4"
# The methods' settings are those of examples/glue/family_runs.py, set before any result was
# seen; SURT is a stage of its own, then a plain fine-tuning.
set -euo pipefail

usage="usage: ROBERTA=model.pt $0 DATA OUT"
data=${1:?$usage}
out=${2:?$usage}
here=$(dirname "$0")
: "${ROBERTA:?set ROBERTA to the pre-trained model.pt}"
seeds=${SEEDS:-1-3}
jobs=(${JOBS:+--jobs "$JOBS"})
stages=${STAGES:-source surt generalization collapse degradation retention}
read -r -a more <<<"${MORE-}"
read -r -a chain_more <<<"${CHAIN_MORE-}"

wanted() { [[ " $stages " == *" $1 "* ]]; }

# What the paper compares, and then the others, for what each forgets.
compared=plain,r3f,r4f,smart
others=rdrop,freelb,recadam,cwgnc,mhloss,mmr,pac
noise=(--set r3f.r3f_lambda=0.1 --set r4f.r3f_lambda=0.1)
settings=(
  --set rdrop.rdrop_alpha=0.7
  --set freelb.freelb_adv_lr=0.1 --set freelb.freelb_init_mag=1.0 --set freelb.freelb_max_norm=0.6
  --set recadam.recadam_pretrain_cof=333 --set recadam.recadam_anneal_k=0.1
  --set recadam.recadam_anneal_t0=78 --set cwgnc.component_clip_norm=0.05
  --set pac.pac_stage1_epochs=1 --set pac.pac_k_batches=2
)
# One epoch of the 5,000 rows, as in examples/glue/RESULTS.md.
recipe=(
  dataset.batch_size=32 optimization.max_update=156 "optimization.lr=[3e-4]"
  lr_scheduler.warmup_updates=9 checkpoint.save_interval_updates=78
)

source_runs() {
  local folder=$1 methods=$2
  shift 2
  rxf sweep "$out/$folder" --tasks "$data/SST-2" --methods "$methods" \
    ${jobs[@]+"${jobs[@]}"} "$@" "${recipe[@]}" ${more[@]+"${more[@]}"}
}

chain() {
  local kind=$1
  shift
  rxf probe "$kind" --pretrained "$ROBERTA" --seeds "$seeds" ${jobs[@]+"${jobs[@]}"} \
    --out "$out/$kind" --lr 3e-4 --batch-size 16 "$@" ${chain_more[@]+"${chain_more[@]}"}
}

if wanted source; then
  from=(--pretrained "$ROBERTA" --seeds "$seeds")
  source_runs compared "$compared" "${from[@]}" "${noise[@]}"
  source_runs others "$others" "${from[@]}" "${settings[@]}"
fi
# Plain runs from other starts: apart from the others, and by another name.
surt=()
for seed in $(seq "${seeds%-*}" "${seeds#*-}"); do
  if wanted surt; then
    python "$here/surt_stage.py" "$ROBERTA" "$data/SST-2" "$out/surt/first" "$seed" --cpu
    source_runs "surt/seed-$seed" plain --seeds "$seed" \
      --pretrained "$out/surt/first/$seed/checkpoint_last.pt"
    ln -sf "../seed-$seed/SST-2/plain/seed-$seed/checkpoint_best.pt" "$out/surt/first/best-$seed.pt"
  fi
  if [[ -e $out/surt/first/best-$seed.pt ]]; then
    surt+=(--checkpoint "surt/$seed=$out/surt/first/best-$seed.pt")
  fi
done
if wanted generalization; then
  rxf probe generalization --pretrained "$ROBERTA" --sweep "$out/compared" \
    --tasks "$data"/{CoLA,MRPC,RTE,STS-B,XNLI-en} --out "$out/generalization"
fi
if wanted collapse; then
  rxf probe collapse --pretrained "$ROBERTA" --sweep "$out/compared" --sweep "$out/others" \
    ${surt[@]+"${surt[@]}"} --text "$data/reuters_text" --out "$out/collapse"
fi
if wanted degradation; then
  chain degradation --source "$data/SST-2" --chain "$data"/{MRPC,RTE,CoLA} \
    --methods plain,r3f,r4f "${noise[@]}" --updates 100
fi
if wanted retention; then
  chain retention --tasks "$data"/{SST-2,MRPC,RTE,CoLA} --cycles 3 \
    --methods plain,r4f --set r4f.r3f_lambda=0.1 --updates 40
fi
shown=()
for folder in compared others generalization collapse degradation retention; do
  [[ ! -d $out/$folder ]] || shown+=("$out/$folder")
done
rxf report "${shown[@]}" --out "$out/report"
