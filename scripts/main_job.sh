#!/usr/bin/env bash
# From a fresh checkout to the three optimal stimuli of T4c on the built-in network, in one command.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
"${VENV:-.venv}/bin/stimopt" optima "$@"
