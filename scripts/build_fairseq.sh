#!/usr/bin/env bash
# fairseq 0.12.2 from the package index, mended (scripts/fairseq_edits.py), as a wheel.
#   scripts/build_fairseq.sh [--python PY] [--out DIR]
# Prints the wheel's path on standard output and everything else on standard error.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() { echo "build_fairseq: $*" >&2; exit 1; }

python=
out=$root/build/wheels
while [ $# -gt 0 ]; do
  case $1 in
    --python) python=${2:-}; [ -n "$python" ] || fail "--python needs an interpreter"; shift 2 ;;
    --out) out=${2:-}; [ -n "$out" ] || fail "--out needs a folder"; shift 2 ;;
    -h|--help) sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown argument $1 (known: --python PY, --out DIR)" ;;
  esac
done

python=$("$root/scripts/find_python.sh" ${python:+"$python"} 2>&1) || fail "$python"
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip (try: $python -m ensurepip)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download -qq --no-deps --no-binary fairseq --dest "$work" fairseq==0.12.2 >&2 \
  || fail "the sources of fairseq 0.12.2 could not be had from the package index"
tar -xzf "$work/fairseq-0.12.2.tar.gz" -C "$work"
"$python" "$root/scripts/fairseq_edits.py" "$work/fairseq-0.12.2"
mkdir -p "$out" "$work/wheel"
"$python" -m pip wheel -qq --no-deps --wheel-dir "$work/wheel" "$work/fairseq-0.12.2" >&2 \
  || fail "the wheel could not be built; the messages above say why"
wheel=$(cd "$work/wheel" && ls fairseq-*.whl)
mv -f "$work/wheel/$wheel" "$out/$wheel"
echo "$(cd "$out" && pwd)/$wheel"
