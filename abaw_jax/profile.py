"""Profiles a step on this machine, or compiles it for a chip that is not present.

python -m abaw_jax.profile --config=configs/student.py --step=heads
python -m abaw_jax.profile --config=configs/student.py --step=heads --topology=h100:1
python -m abaw_jax.profile --config=student --topology=h100:1,v5e:1x1 --table=t.md
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from abaw_jax import command_line
from abaw_jax.path_faults import require_writable

_CONFIG = config_flags.DEFINE_config_file("config", None, "Configuration file.")
_STEP = flags.DEFINE_string(
    "step",
    "heads",
    "heads, end_to_end, extract, image_training or sound_training.",
)
_TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    "Compile for a TPU slice or GPUs instead of timing: v5e:1x1, v5e:2x4, h100:1.",
)
_FRAMES = flags.DEFINE_integer(
    "frames", None, "Rows of the feature table.", lower_bound=1
)
_CALLS = flags.DEFINE_integer(
    "calls", 9, "Timed calls, with and without input.", lower_bound=1
)
_TRACE = command_line.define_folder("trace", "Folder for a trace that XProf reads.")
_JSON = command_line.define_file("json", "File for all figures.")
_TABLE = command_line.define_file(
    "table", "Markdown table (.md) of the steps and topologies, several with commas."
)
_PLOT = command_line.define_file("plot", "Picture (.png) of what a step takes.")


def main(argv: Sequence[str]) -> None:
    """Profiles the step that the flags name."""
    command_line.refuse_arguments(argv)
    if _CONFIG.value is None:
        raise app.UsageError("Name a configuration: --config=configs/student.py.")
    # What profiles takes seconds to load: not before --help or for a wrong flag.
    from abaw_jax.profiling import session
    from abaw_jax.training.jax_settings import set_up_jax

    logging.set_verbosity(logging.WARNING)
    set_up_jax(for_accelerators=_TOPOLOGY.value is not None)
    try:
        _check_outputs()
        if _TABLE.value is not None:
            return _write_table(_TABLE.value)
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


def _check_outputs() -> None:
    """Refuses outputs that could not be written, before anything is compiled."""
    others = [each for each in (_JSON, _PLOT, _TRACE) if each.value is not None]
    if _TABLE.value is not None and others:
        raise ValueError(
            f"--table has the figures of several steps, --{others[0].name} those of "
            "one: give one of the two."
        )
    if _TOPOLOGY.value is not None and _TRACE.value is not None:
        raise ValueError(
            "--trace records calls on this machine, and with --topology a step is "
            "compiled alone: give one of the two."
        )
    if _TRACE.value is not None:
        require_writable(_TRACE.value)
    for each in (_JSON, _PLOT, _TABLE):
        if each.value is not None:
            require_writable(each.value.parent)
            each.value.parent.mkdir(parents=True, exist_ok=True)


def _write_table(path: Path) -> None:
    from abaw_jax.profiling import compiled_table

    if not _TOPOLOGY.value:
        raise ValueError(
            "--table needs chips to compile for: --topology=h100:1,v5e:1x1"
        )
    compiled_table.write(
        _CONFIG.value,
        _STEP.value.split(","),
        _TOPOLOGY.value.split(","),
        _FRAMES.value,
        path,
    )


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
