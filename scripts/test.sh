#!/usr/bin/env bash
# Sets up if needed, then runs the tests, a process a core and one more, as some of them wait for
# processes of their own; those marked slow only where -m asks for them.  -n 0 runs them in one
# process, where a debugger and -s work.
#   scripts/test.sh [PYTEST ARGS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh

marks=(-m "not slow")
for argument in "$@"; do
  case $argument in -m*) marks=() ;; esac
done

# The models here are so small that more threads only get in each other's way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export PATH=$PWD/.venv/bin:$PATH
# nproc takes OMP_NUM_THREADS for the number of cores.
workers=$(($(env -u OMP_NUM_THREADS nproc) + 1))
exec .venv/bin/python -m pytest -n "$workers" --dist loadfile ${marks[@]+"${marks[@]}"} "$@"
