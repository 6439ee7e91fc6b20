#!/usr/bin/env bash
# fairseq 0.12.2 from the package index, mended (scripts/fairseq_edits.py), as a wheel.
#   scripts/build_fairseq.sh [--python PY] [--out DIR]
# Prints the wheel's path on standard output and everything else on standard error.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() { echo "build_fairseq: $*" >&2; exit 1; }

python=python3
out=$root/build/wheels
while [ $# -gt 0 ]; do
  case $1 in
    --python) python=${2:?--python needs an interpreter}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    -h|--help) sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown argument $1 (known: --python PY, --out DIR)" ;;
  esac
done

command -v "$python" >/dev/null || fail "no such Python: $python (name one with --python)"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
  || fail "$("$python" --version) is not supported: name a Python 3.10 to 3.13 with --python"
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip (try: $python -m ensurepip)"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$include/Python.h" ] \
  || fail "Python.h is not in $include: install the Python headers (Debian: python3-dev)"
command -v "${CXX:-c++}" >/dev/null || fail "no C++ compiler: install one (Debian: g++)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m pip download --quiet --no-deps --no-binary fairseq --dest "$work" fairseq==0.12.2 >&2 \
  || fail "the sources of fairseq 0.12.2 could not be had from the package index"
tar -xzf "$work/fairseq-0.12.2.tar.gz" -C "$work"
"$python" "$root/scripts/fairseq_edits.py" "$work/fairseq-0.12.2"
mkdir -p "$out" "$work/wheel"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work/wheel" "$work/fairseq-0.12.2" >&2 \
  || fail "the wheel could not be built; the messages above say why"
wheel=$(cd "$work/wheel" && ls fairseq-*.whl)
mv -f "$work/wheel/$wheel" "$out/$wheel"
echo "$(cd "$out" && pwd)/$wheel"
