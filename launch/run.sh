#!/usr/bin/env bash
# Trains: launch/run.sh --config=configs/quickstart.py [--config.field=value …]
# The environment is made on the first call; environment.sh has its two settings.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# A GPU that idles because nobody asked for it would be a pity.
if nvidia-smi >/dev/null 2>&1 && ! python -c 'import jax_plugins' 2>/dev/null; then
    echo "abaw_jax: this GPU would idle, $environment is for CPUs:" \
        "ACCELERATOR=cuda13 $0 $*" >&2
fi
exec python -m abaw_jax.main "$@"
