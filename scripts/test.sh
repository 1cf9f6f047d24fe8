#!/usr/bin/env bash
# From a fresh checkout to every check, in one command.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test
PATH="$PWD/${VENV:-.venv}/bin:$PATH" bash scripts/check.sh "$@"
