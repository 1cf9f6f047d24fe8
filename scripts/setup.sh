#!/usr/bin/env bash
# Create the environment .venv (or $VENV) with pinned packages; the arguments name extras.
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${VENV:-.venv}"
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "setup: expected Python 3.10 or newer, got $("$python" --version); set PYTHON" >&2
    exit 2
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# torch first: as a dependency of another package, pip may choose a build with gigabytes of CUDA.
"$venv/bin/python" -m pip install -q -c constraints.txt "torch==2.13.0"
extras="$(IFS=,; echo "$*")"
"$venv/bin/python" -m pip install -q -c constraints.txt -e ".${extras:+[$extras]}"
