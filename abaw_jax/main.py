"""Trains: runs the requested stage and the stages that it needs.

python -m abaw_jax.main --config=configs/quickstart.py [--config.field=value ...]

Several processes become one run with --join, which the scripts in launch/ set.

Features may be encoded in shares instead, on any machines that see the same files, in
any order; the command without --shards then finds them and trains:
python -m abaw_jax.main --config=FILE ... --shards=N --shard=I    I: 0 to N-1
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from abaw_jax import command_line
from abaw_jax.experiment.checks import run_faults
from abaw_jax.store.shares import MAX_SHARES, Share

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
_WORKDIR = command_line.define_path(
    "workdir", "Folder for all that is made; default runs/NAME of the config."
)
_INPUTS = command_line.define_path(
    "inputs",
    "Folder for corpus, encoders and features, which runs that differ in training "
    "alone may share; default the workdir.",
)

_JOIN = flags.DEFINE_string(
    "join",
    None,
    "Other processes of this run: auto (SLURM, TPU slice, Kubernetes, MPI), or "
    "HOST:PORT,INDEX/COUNT.",
)
_SHARDS = flags.DEFINE_integer(
    "shards",
    None,
    "Only encode features, in so many shares.",
    lower_bound=1,
    upper_bound=MAX_SHARES,
)
_SHARD = flags.DEFINE_integer(
    "shard", None, "With --shards=N: the share to encode here, 0 to N-1.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """Builds up to the configured stage and evaluates what was trained."""
    command_line.refuse_arguments(argv)
    if _CONFIG.value is None:
        raise app.UsageError("Name a configuration: --config=configs/quickstart.py.")
    try:
        _run()
    except KeyboardInterrupt:  # while modules are loaded or processes join
        print("abaw_jax: interrupted; the same command continues.", file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    # The stages take a second to load: not before --help or for a wrong flag.
    from abaw_jax.experiment import sequence
    from abaw_jax.training.jax_settings import set_up_jax
    from abaw_jax.training.stopping import Stopped, watch_signals

    try:
        share = _share()
        if _JOIN.value is not None:
            sequence.join(_JOIN.value)
        set_up_jax()
        # After the join: JAX would put its own handler in place of these.
        with watch_signals():
            if share is None:
                sequence.run(_CONFIG.value, *_folders())
            else:
                sequence.encode_share(_CONFIG.value, *_folders(), share)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"abaw_jax: {error}")
    except Stopped as stop:
        print(f"abaw_jax: {stop}", file=sys.stderr)
        sys.exit(stop.exit_code)


def _share() -> Share | None:
    """The share of the features to encode; None if the command is not divided."""
    index, count = _SHARD.value, _SHARDS.value
    if index is None and count is None:
        return None
    if index is None or count is None or index >= count:
        raise ValueError("Name --shards=N with --shard=I, from 0 to N-1.")
    if _JOIN.value is not None:
        raise ValueError(
            "--join makes processes one run, --shards makes each independent: give one "
            "of the two."
        )
    return Share(index, count)


def _folders() -> tuple[Path, Path]:
    """The workdir and the folder of the inputs."""
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = _WORKDIR.value or default_workdir(name)
    return workdir, _INPUTS.value or workdir


def default_workdir(config: str) -> Path:
    """``runs/table1-small`` for ``configs/table1.py:small``."""
    file, _, variant = config.partition(":")
    return Path("runs", "-".join([Path(file).stem, *filter(None, variant.split("/"))]))


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv, lambda config: run_faults(config, *_folders()))


if __name__ == "__main__":
    run()
