#!/usr/bin/env bash
# Build the documentation into build/docs (or the first argument), run every page, check every link.
set -euo pipefail
cd "$(dirname "$0")/.."
output="${1:-build/docs}"
if [ -z "${PYTHON:-}" ]; then
    PYTHON="$PWD/${VENV:-.venv}/bin/python"
    "$PYTHON" -c "import furo, myst_nb" 2>/dev/null || bash scripts/setup.sh docs
fi
# -E reads every page anew: else a page that failed would pass in the next build, from the cache.
PATH="$(dirname "$PYTHON"):$PATH" "$PYTHON" -m sphinx -W -E --keep-going -q -j auto docs "$output"
"$PYTHON" scripts/check_links.py "$output"
