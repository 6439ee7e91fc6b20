#!/usr/bin/env bash
# Prints the path of a Python that can build fairseq, or one line that says what is missing.
#   scripts/find_python.sh [PY]
# Without PY: Python 3.11 or, failing that, any other supported one.
set -euo pipefail

# pyenv's shim of a version that is not switched on does not run: ask pyenv where that one is.
executable_of() {
  local ask='import sys; print(sys.executable)' prefix
  "$1" -c "$ask" 2>/dev/null && return
  case $1 in
    python3.*) prefix=$(pyenv prefix "${1#python}" 2>/dev/null) && "$prefix/bin/python" -c "$ask" ;;
    *) return 1 ;;
  esac
}

# Prints in one line what keeps the Python at $1 from serving, or nothing.
problem_of() {
  local include version
  version=$("$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
  case $version in
    3.10.*|3.11.*|3.12.*|3.13.*) ;;
    *) echo "Python $version ($1) is not supported: name a Python 3.10 to 3.13 with --python"; return ;;
  esac
  include=$("$1" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  if ! [ -f "$include/Python.h" ]; then
    echo "Python.h is not in $include: install the Python headers (Debian: python3-dev)"
  elif ! command -v "${CXX:-c++}" >/dev/null; then
    echo "no C++ compiler: install one (Debian: g++)"
  fi
}

first_problem=
for name in ${1:-python3.11 python3.12 python3.13 python3.10 python3 python}; do
  python=$(executable_of "$name") || continue
  problem=$(problem_of "$python")
  if [ -z "$problem" ]; then
    echo "$python"
    exit
  fi
  first_problem=${first_problem:-$problem}
done
missing=${1:+"no such Python: $1 (name one with --python)"}
missing=${missing:-"no Python found: install a Python 3.10 to 3.13, or name one with --python"}
echo "${first_problem:-$missing}" >&2
exit 1
