#!/usr/bin/env bash
# Makes a virtual environment with torch, the mended fairseq, rxf and what its tests need.
#   scripts/setup.sh [--python PY] [--venv DIR]
# A second run does nothing; after a pull, a run brings the environment up to date.
# RXF_TORCH says which torch to install (torch==2.13.0); one that is there already stays.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() { echo "setup: $*" >&2; exit 1; }
say() { echo "setup: $*" >&2; }

python=
venv=$root/.venv
while [ $# -gt 0 ]; do
  case $1 in
    --python) python=${2:-}; [ -n "$python" ] || fail "--python needs an interpreter"; shift 2 ;;
    --venv) venv=${2:-}; [ -n "$venv" ] || fail "--venv needs a folder"; shift 2 ;;
    -h|--help) sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown argument $1 (known: --python PY, --venv DIR)" ;;
  esac
done
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac

done_stamp=$venv/.rxf-setup          # what the finished environment was made from
fairseq_stamp=$venv/.rxf-fairseq     # what its fairseq wheel was made from
unfinished=$venv/.rxf-unfinished     # while a new environment is being filled: by which process

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# One line that changes when a file that decides what is installed does, or the checkout moves.
fingerprint() {
  (cd "$root" && { echo "$root" && version_of "$venv/bin/python" && cat "$@"; }) | cksum
}
wheel_inputs=(scripts/build_fairseq.sh scripts/fairseq_edits.py
              rxf/fairseq_fixes/checkpoint_allow_list.py)
wheel_fingerprint() { fingerprint "${wheel_inputs[@]}"; }
all_fingerprint() { fingerprint "${wheel_inputs[@]}" setup.py scripts/setup.sh; }

is_done() {
  local command
  for command in python fairseq-train rxf pytest ruff mypy; do
    [ -x "$venv/bin/$command" ] || return 1
  done
  # A regular install of rxf would have replaced the stand-in of install_rxf.
  grep -qsF "$root/rxf" "$venv"/lib/python*/site-packages/rxf/__init__.py || return 1
  [ -f "$done_stamp" ] && [ "$(cat "$done_stamp")" = "$(all_fingerprint)" ]
}

# --python need not be given again for an environment that exists, and cannot change it.
check_version() {
  local asked found
  [ -n "$python" ] && found=$(version_of "$venv/bin/python") || return 0
  python=$("$root/scripts/find_python.sh" "$python" 2>&1) || fail "$python"
  asked=$(version_of "$python")
  [ "$asked" = "$found" ] || fail "$venv holds Python $found, not $asked: remove it, or name another folder with --venv"
}

# A new environment that was interrupted is made anew (it is ours, and pip may have stopped
# in the middle of a package); any other is completed in place, so that an environment, or a
# torch, which somebody else made is never thrown away.
discard_unfinished() {
  [ -e "$unfinished" ] || return 0
  ! kill -0 "$(cat "$unfinished")" 2>/dev/null \
    || fail "process $(cat "$unfinished") is making $venv: wait until it is done"
  rm -rf "$venv"
}

make_venv() {
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    [ -f "$venv/pyvenv.cfg" ] || [ -z "$(ls -A "$venv" 2>/dev/null)" ] \
      || fail "$venv is not empty and no virtual environment: name another folder with --venv"
    python=$("$root/scripts/find_python.sh" ${python:+"$python"} 2>&1) || fail "$python"
    "$python" -c 'import venv, ensurepip' 2>/dev/null \
      || fail "$python has no venv module: install it (Debian: python3-venv)"
    say "$venv with Python $(version_of "$python")"
    [ -f "$venv/pyvenv.cfg" ] || { mkdir -p "$venv" && echo $$ > "$unfinished"; }
    rm -f "$venv"/bin/python*  # -m venv keeps links to a Python that is gone
    "$python" -m venv "$venv" || fail "$venv could not be made; the messages above say why"
  fi
  "$root/scripts/find_python.sh" "$venv/bin/python" >/dev/null || fail "$venv cannot be used"
}

pip_install() {
  "$venv/bin/python" -m pip install "$@" >&2 || fail "pip failed; the messages above say why"
}

# Before torch is fetched, so that a missing compiler or header shows at once.
build_fairseq() {
  [ "$(cat "$fairseq_stamp" 2>/dev/null)" != "$(wheel_fingerprint)" ] || return 0
  say "building fairseq 0.12.2 (about a minute)"
  wheel=$("$root/scripts/build_fairseq.sh" --python "$venv/bin/python") || exit 1
}

install_torch() {
  "$venv/bin/python" -c 'import torch' 2>/dev/null && return
  say "installing ${RXF_TORCH:-torch==2.13.0} (a CUDA build is some gigabytes)"
  pip_install "${RXF_TORCH:-torch==2.13.0}"
}

# Without its requirements: rxf's name them again, and pip then resolves them together.
install_fairseq() {
  [ -n "$wheel" ] || return 0
  pip_install -qq --no-deps --force-reinstall "$wheel"
  wheel_fingerprint > "$fairseq_stamp"
}

# fairseq looks for a relative --user-dir beside itself, where an editable install leaves
# nothing.  So `rxf` beside it is this stand-in for the checkout; a file, because pip
# would write a later regular install through a link into the checkout.
install_rxf() {
  say "installing rxf, and what its tests, linters and documentation take"
  pip_install -qq --editable "$root[plots,sweep,test,docs,lint]"
  "$venv/bin/python" - "$root/rxf" <<'PYTHON' || fail "rxf could not be put beside fairseq"
import importlib.util
import pathlib
import sys

fairseq = importlib.util.find_spec("fairseq").submodule_search_locations[0]
stand_in = pathlib.Path(fairseq).parent / "rxf" / "__init__.py"
stand_in.parent.mkdir(exist_ok=True)
stand_in.write_text(f'''"""Written by scripts/setup.sh: stands for the checkout, see there."""

import importlib.util
import sys

_checkout = {sys.argv[1]!r}
# This folder, too, is where rxf is: it is what fairseq takes `--user-dir rxf` for.
_spec = importlib.util.spec_from_file_location(
    "rxf", _checkout + "/__init__.py", submodule_search_locations=[_checkout, *__path__]
)
sys.modules["rxf"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["rxf"])
''')
PYTHON
}

verify() {
  local answer
  answer=$(cd / && "$venv/bin/python" -c 'import torch, fairseq.tasks, rxf' 2>&1) \
    || fail "the environment does not work; remove $venv and run this again: $answer"
  answer=$("$venv/bin/python" -m pip check 2>&1) || fail "pip check in $venv: $answer"
}

discard_unfinished
check_version
if is_done; then
  say "$venv is ready"
  exit 0
fi
make_venv
wheel=
build_fairseq
install_torch
install_fairseq
install_rxf
verify
all_fingerprint > "$done_stamp"
rm -f "$unfinished"
say "$venv is ready"
