"""Scores a trained network on the validation sets of a store or a release.

python -m abaw_jax.evaluate --model=MODEL --store=STORE [--out=DIR]
python -m abaw_jax.evaluate --model=MODEL --release=DIR [--out=DIR]
python -m abaw_jax.evaluate --workdir=RUN [--role=student] [--out=DIR]

The last form exports the network of a run first, into DIR/model, and scores it on the
store of that run unless another is named.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict

from abaw_jax import command_line

_MODEL = command_line.define_folder("model", "Folder of abaw_jax.export.")
_WORKDIR = command_line.define_folder("workdir", "Or folder of a finished run.")
_ROLE = flags.DEFINE_string("role", "student", "With --workdir: which network.")
_STORE = command_line.define_folder("store", "Folder of abaw_jax.prepare.")
_RELEASE = command_line.define_folder("release", "Or folder of a release.")
_OUT = command_line.define_folder(
    "out", "Folder for results; default evaluation, in the run or beside the model."
)


def main(argv: Sequence[str]) -> None:
    """Scores what the flags name."""
    command_line.refuse_arguments(argv)
    if (_MODEL.value is None) == (_WORKDIR.value is None):
        raise app.UsageError("Name one of --model=MODEL and --workdir=RUN.")
    # What evaluates takes seconds to load: not before --help or for a wrong flag.
    from abaw_jax.training.jax_settings import set_up_jax

    set_up_jax()
    try:
        _evaluate()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"abaw_jax.evaluate: {error}")


def _evaluate() -> None:
    from abaw_jax.inference import run_export, scoring
    from abaw_jax.report import console

    base = command_line.load_config("base")
    _choose_data(base, _WORKDIR.value)
    model, workdir = _MODEL.value, _WORKDIR.value
    if workdir is not None:
        out = _OUT.value or workdir / "evaluation"
        model = out / "model"
        run_export.export(workdir, _ROLE.value, model)
    else:
        assert model is not None
        out = _OUT.value or model.with_name(f"{model.name}-evaluation")
    results = scoring.evaluate(model, base, out, workdir)
    scoring.show(results, next(iter(results)), model)
    console.say(f"{out / 'result.json'}  {out / 'predictions'}")
    console.say(str(out / scoring.REPORT))


def _choose_data(base: ConfigDict, workdir: Path | None) -> None:
    """Names the data in the configuration: those of the flags, or of the run."""
    if _STORE.value and _RELEASE.value:
        raise ValueError("Name one of --store=STORE and --release=DIR.")
    if _RELEASE.value:
        base.data.release = str(_RELEASE.value)
    elif _STORE.value:
        base.data.store = str(_STORE.value)
    elif workdir is not None:
        from abaw_jax.experiment.run_record import read_record

        config, inputs = read_record(workdir)
        base.data.store = config.data.store or str(inputs / "corpus" / "store")
    else:
        raise ValueError("Name the data: --store=STORE or --release=DIR.")


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
