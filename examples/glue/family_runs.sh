#!/usr/bin/env bash
# The runs behind RESULTS.md, "The whole family": every method of the registry on two tasks.
#   ROBERTA=.../roberta_mini/model.pt examples/glue/family_runs.sh DATA OUT [SEED ...]
# DATA is what family_data.sh makes; seeds are 1 to 3 unless named.
#   JOBS     runs at a time, 1 unless set, each with OMP_NUM_THREADS threads (1 unless set)
#   METHODS  some of the methods, by the registry's names and with spaces between; else all
#   MORE     flags for every fairseq-train of these runs, e.g. "--max-update 4" to try them
# A run leaves OUT/TASK/METHOD-SEED.log and .json; what ran to its end is not run again, what was
# stopped starts anew.  `python examples/glue/family_table.py OUT` reads them.
# The settings of tasks and methods are in family_runs.py, with the reasons.
set -euo pipefail

usage="usage: ROBERTA=model.pt $0 DATA OUT [SEED ...]"
data=${1:?$usage}
out=${2:?$usage}
shift 2
: "${ROBERTA:?set ROBERTA to the pre-trained model.pt}"
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
[ $# -gt 0 ] || set -- 1 2 3
exec python "$(dirname "$0")/family_runs.py" "$data" "$out" "$@"
