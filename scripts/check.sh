#!/usr/bin/env bash
# Run every check: format, lint, types, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m ruff format --check .
python -m ruff check .
# Types are checked beside the tests, which leave one core or the other waiting.
python -m mypy &
types=$!
failed=0
# Two files at a time: most tests wait for other processes, or use one core.
python -m pytest -n 2 --dist loadfile "$@" || failed=$?
wait "$types" || failed=$?
exit "$failed"
