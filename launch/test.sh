#!/usr/bin/env bash
# Everything CI runs, fast first. Arguments go to pytest: launch/test.sh tests/test_losses.py -x
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
python --version
ruff format --check .
ruff check .
shellcheck --external-sources --source-path=launch launch/*.sh launch/*.sbatch .ci/run
pyright
lint-imports
# A file stays with one worker, which compiles its programs once (tests/conftest.py);
# more than four workers cost memory and gain little. Files run in alphabetical
# order, in which the longest (experiment/) are among the first.
exec python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile \
    --no-loadscope-reorder "$@"
