#!/usr/bin/env bash
# One command from a fresh checkout to T4c's three optimal stimuli on the built-in network.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
"${VENV:-.venv}/bin/stimopt" optima "$@"
