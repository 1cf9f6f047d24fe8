#!/usr/bin/env bash
# One command from a fresh checkout to every check passed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test
PATH="$PWD/${VENV:-.venv}/bin:$PATH" bash scripts/check.sh "$@"
