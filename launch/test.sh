#!/usr/bin/env bash
# Everything CI runs, fast first. Arguments go to pytest: launch/test.sh tests/test_losses.py -x
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
python --version
ruff format --check .
ruff check .
pyright
lint-imports
# A worker compiles on one core most of the time; more than four only cost memory.
exec python -m pytest --numprocesses=logical --maxprocesses=4 "$@"
