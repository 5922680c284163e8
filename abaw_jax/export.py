"""Exports a trained network as a folder that others can load.

python -m abaw_jax.export --workdir=RUN --model=MODEL [--role=student]

The folder holds the weights of encoders and heads (.safetensors), model.json with the
inputs, outputs, scores and settings, and a model card. In Python: abaw_jax.load(MODEL).
--formats=stablehlo,onnx adds the network as files for other programs.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

from abaw_jax import command_line

_WORKDIR = command_line.define_folder("workdir", "Folder of a finished run.")
_MODEL = command_line.define_folder("model", "Folder that is written.")
_ROLE = flags.DEFINE_string(
    "role", "student", "teacher, student, or student2 of the second generation."
)
_FORMATS = flags.DEFINE_list(
    "formats", [], "Further files of the network: stablehlo, onnx, or both."
)


def main(argv: Sequence[str]) -> None:
    """Writes the folder that the flags name."""
    command_line.refuse_arguments(argv)
    if _WORKDIR.value is None or _MODEL.value is None:
        raise app.UsageError("Name both, --workdir=RUN and --model=MODEL.")
    # What exports takes seconds to load: not before --help or for a wrong flag.
    from abaw_jax.inference.run_export import export
    from abaw_jax.report import console

    try:
        contract = export(
            _WORKDIR.value, _ROLE.value, _MODEL.value, [*dict.fromkeys(_FORMATS.value)]
        )
    except (ValueError, OSError) as error:
        sys.exit(f"abaw_jax.export: {error}")
    scores = contract["scores"]
    shown = f", MTL {scores['mtl']:.3f}" if "mtl" in scores else ""
    console.say(f"{_MODEL.value}: the {contract['role']} of {_WORKDIR.value}{shown}")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
