"""Runs the stage asked for and whatever it needs.

python -m abaw_jax.main --config=configs/quickstart.py [--config.field=value ...]

Several processes become one run with --join, which the scripts in launch/ set.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from abaw_jax.stages import sequence
from abaw_jax.training.compiling import keep_programs

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for all that is made; default runs/NAME of the config."
)
_INPUTS = flags.DEFINE_string(
    "inputs",
    None,
    "Folder for corpus, encoders and features, which runs that differ in training "
    "alone may share; default the workdir.",
)

_JOIN = flags.DEFINE_string(
    "join",
    None,
    "Other processes of this run: auto (SLURM, TPU slice, Kubernetes, MPI), or "
    "HOST:PORT,INDEX/COUNT.",
)


def main(argv: Sequence[str]) -> None:
    """Builds up to the configured stage and evaluates what was trained."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]} is not a flag.")
    if _CONFIG.value is None:
        raise app.UsageError("Name a configuration: --config=configs/quickstart.py.")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # Orbax tells every file it writes
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value or default_workdir(name))
    keep_programs()
    try:
        if _JOIN.value is not None:
            sequence.join(_JOIN.value)
        sequence.run(_CONFIG.value, workdir, Path(_INPUTS.value or workdir))
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"abaw_jax: {error}")


def default_workdir(config: str) -> Path:
    """``runs/table1-small`` for ``configs/table1.py:small``."""
    file, _, variant = config.partition(":")
    return Path("runs", "-".join([Path(file).stem, *filter(None, variant.split("/"))]))


def _parse(argv: Sequence[str]) -> list[str]:
    """Flags, with a misspelt field or a wrong type told in one sentence."""
    try:
        return app.parse_flags_with_usage(list(argv))
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"abaw_jax: configuration: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)


def _sentence(error: BaseException) -> str:
    """The message of an error, or of the one that it wraps, on one line."""
    reason = error.args[0] if error.args else type(error).__name__
    if isinstance(reason, BaseException):
        return _sentence(reason)
    return " ".join(str(reason).split())


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
