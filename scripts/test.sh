#!/usr/bin/env bash
# Sets up if needed, then runs every check: lint, format, types, import layers, documentation, tests (a process for each
# core). Arguments go to pytest: `scripts/test.sh @tests/smoke.txt` takes a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves compiling to the first import; without its result every process compiles torch

check() { # check COMMAND...: runs a tool of .venv and prints its seconds
  local begin=$SECONDS
  printf '[test] %s\n' "$*"
  ".venv/bin/$1" "${@:2}"
  printf '[test] %s: %s s\n' "$1" "$((SECONDS - begin))"
}

bash scripts/setup.sh
check ruff check .
check ruff format --check .
check mypy
check lint-imports --no-cache
NO_MKDOCS_2_WARNING=1 check mkdocs build --strict --quiet --site-dir build/site
check pytest -n auto --dist loadfile "$@"
