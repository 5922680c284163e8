#!/usr/bin/env bash
# Trains on all hosts of a Cloud TPU slice:
#   launch/tpu_vm.sh NAME ZONE --config=configs/student.py --workdir=/mnt/shared/run …
# Every host needs the repository in ~/abaw_jax, and the data and --workdir on one file
# system that all hosts mount, such as Filestore.
set -euo pipefail
if (($# < 3)); then
    echo "usage: $0 NAME ZONE --config=… [--config.field=value …]" >&2
    exit 2
fi
name="$1" zone="$2"
shift 2
exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd ~/abaw_jax && ACCELERATOR=tpu launch/run.sh ${*@Q} --join=auto"
