#!/usr/bin/env bash
# Trains: launch/run.sh --config=configs/quickstart.py [--config.field=value …]
# The environment is made on the first call; environment.sh has its two settings.
#
#   launch/run.sh --processes 2 …    as so many processes on this machine, to try out on
#                                    CPUs what slurm.sbatch, tpu_vm.sh and jobset.yaml do
set -euo pipefail
# Usage is the comment above; it needs no environment.
if [[ " $* " =~ \ (-h|-?-help)\  ]]; then
    sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    echo "All flags, once there is an environment: python -m abaw_jax.main --help"
    exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# glibc asks the system for large pages: a training step of the image encoder on a CPU,
# which takes 700 MB anew each time, lasts a tenth less (6 to 22 % in three runs).
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

# An environment without CUDA leaves a GPU unused; say how to use it.
if nvidia-smi >/dev/null 2>&1 && ! python -c 'import jax_plugins' 2>/dev/null; then
    echo "abaw_jax: this GPU would idle, $environment is for CPUs:" \
        "ACCELERATOR=cuda13 $0 $*" >&2
fi
[[ "${1:-}" == --processes ]] || exec python -m abaw_jax.main "$@"

[[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || fail "--processes wants a number, got '${2:-}'."
count="$2"
shift 2
port="$(python -c 'import socket
with socket.socket() as free:
    free.bind(("localhost", 0))
    print(free.getsockname()[1])')"
processes=()
# Where one ends early, the others would wait for it forever.
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
for ((index = 0; index < count; index++)); do
    python -m abaw_jax.main "$@" --join="localhost:$port,$index/$count" &
    processes+=($!)
done
for ((index = 0; index < count; index++)); do
    wait -n
done
