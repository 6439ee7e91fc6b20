#!/usr/bin/env bash
# Plain fine-tuning, R3F and R4F over several seeds: tables, pictures and a page.
#   scripts/quickstart.sh [TASK] [OPTIONS]     (--help lists them)
# Sets up first where needed. Without arguments: built-in data, no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
"$root/scripts/setup.sh"
exec "$root/.venv/bin/python" -m rxf.lab.quickstart "$@"
