#!/usr/bin/env bash
# Builds the documentation as HTML; any warning ends the build. Sets up first where needed.
#   scripts/docs.sh [--python PY] [--out DIR]
# Prints the path of its first page. PY is another Python that has rxf and its extra `docs`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "docs: $*" >&2; exit 1; }

python=
out=docs/_build
while [ $# -gt 0 ]; do
  case $1 in
    --python) python=${2:-}; [ -n "$python" ] || fail "--python needs an interpreter"; shift 2 ;;
    --out) out=${2:-}; [ -n "$out" ] || fail "--out needs a folder"; shift 2 ;;
    -h|--help) sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) fail "unknown argument $1 (known: --python PY, --out DIR)" ;;
  esac
done
if [ -z "$python" ]; then
  scripts/setup.sh
  python=.venv/bin/python
fi
"$python" -c 'import furo, myst_parser, sphinx' 2>/dev/null \
  || fail "$python has no Sphinx: pip install 'rxf[docs]', or run scripts/setup.sh"

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$python" -m docs.tree "$out/pages"
"$python" -m sphinx -q -E -W --keep-going -b html -c docs -d "$out/doctrees" "$out/pages" "$out/html"
echo "$out/html/docs/index.html"
