#!/usr/bin/env bash
# Sets up if needed, then trains: the quickstart recipe, or whatever `python -m tgrpo_trainer` accepts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE # setup.sh leaves compiling to the first import; without its result every process compiles torch

bash scripts/setup.sh
exec .venv/bin/python -m tgrpo_trainer "$@"
