"""Profiles a step on this machine, or compiles it for a TPU that is not present.

python -m abaw_jax.profile --config=configs/student.py --step=heads
python -m abaw_jax.profile --config=configs/student.py --step=heads --topology=v5e:1x1
"""

import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from abaw_jax import command_line
from abaw_jax.profiling import session
from abaw_jax.training.compilation_cache import enable_compilation_cache

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
_STEP = flags.DEFINE_string("step", "heads", "heads, end_to_end or extract.")
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Compile for a TPU slice instead of timing: v5e:1x1, v5e:2x4."
)
_FRAMES = flags.DEFINE_integer("frames", None, "Rows of the feature table.")
_CALLS = flags.DEFINE_integer(
    "calls", 9, "Timed calls, with and without input.", lower_bound=1
)
_TRACE = command_line.define_folder("trace", "Folder for a trace that XProf reads.")
_JSON = command_line.define_file("json", "File for all figures.")
_PLOT = command_line.define_file("plot", "Picture (.png) of what a step takes.")


def main(argv: Sequence[str]) -> None:
    """Profiles the step that the flags name."""
    command_line.refuse_arguments(argv)
    if _CONFIG.value is None:
        raise app.UsageError("Name a configuration: --config=configs/student.py.")
    logging.set_verbosity(logging.WARNING)
    enable_compilation_cache()
    try:
        found = session.profile(
            _CONFIG.value,
            _STEP.value,
            topology=_TOPOLOGY.value,
            frames=_FRAMES.value,
            calls=_CALLS.value,
            trace=_TRACE.value,
        )
        session.show(found, _JSON.value, _PLOT.value)
    except (ValueError, OSError) as error:
        sys.exit(f"abaw_jax.profile: {error}")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
