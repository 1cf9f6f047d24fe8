#!/usr/bin/env bash
# Run every check: format, lint, types, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ruff format --check .
python -m ruff check .
python -m mypy
python -m pytest "$@"
