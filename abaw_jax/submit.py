r"""Writes the files of an ABAW challenge for the frames of its test lists.

python -m abaw_jax.submit --model=MODEL --store=STORE --edition=3 --out=DIR
python -m abaw_jax.submit --model=MODEL --store=STORE --edition=8 --out=DIR \
    --template=CVPR_8th_ABAW_VA_test_set_sample.txt --template=…

Rows are those of the templates, in their order; without one, those of the test lists
that the store was prepared with. A frame without an image has the values of the last
one before it. Every file is read again before a zip is written.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from abaw_jax import command_line
from abaw_jax.inference.submission import (
    EDITIONS,
    Frame,
    asked_sets,
    read_template,
    write_submission,
)

_MODEL = command_line.define_folder("model", "Folder of abaw_jax.export.")
_STORE = command_line.define_folder("store", "Folder of abaw_jax.prepare.")
_EDITION = flags.DEFINE_enum(
    "edition", None, [str(each) for each in EDITIONS], "Of the challenge, 1 to 11."
)
_TEMPLATE = command_line.define_files(
    "template", "File of the organisers that names every image; may be repeated."
)
_OUT = command_line.define_folder(
    "out", "Folder for a zip per track, and for features."
)


def main(argv: Sequence[str]) -> None:
    """Writes what the flags ask for."""
    command_line.refuse_arguments(argv)
    model, store, out = _MODEL.value, _STORE.value, _OUT.value
    if model is None or store is None or out is None or _EDITION.value is None:
        raise app.UsageError("Name --model, --store, --edition and --out.")
    # What predicts takes seconds to load: not before --help or for a wrong flag.
    from abaw_jax.training.jax_settings import set_up_jax

    set_up_jax()
    try:
        _submit(model, store, int(_EDITION.value), out)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"abaw_jax.submit: {error}")


def _submit(model: Path, store: Path, edition: int, out: Path) -> None:
    from abaw_jax.inference.list_predictions import predict_lists
    from abaw_jax.report import console

    base = command_line.load_config("base")
    base.data.store = str(store)
    templates = _templates(_TEMPLATE.value, edition)
    tracks = predict_lists(model, base, out, templates, edition)
    for path in write_submission(tracks, edition, out):
        track = tracks[path.stem]
        console.say(
            f"{path}: {len(track.frames):,} rows; {track.carried:,} without an image "
            f"have the values of another frame, {track.guessed:,} of subjects without "
            "any image the mean"
        )


def _templates(paths: Sequence[Path], edition: int) -> dict[str, list[Frame]]:
    """Rows by set; each template must be used."""
    found: dict[str, list[Frame]] = {}
    for path in paths:
        name, frames = read_template(path)
        asked_sets(edition, [name])
        if name in found:
            raise ValueError(f"{path} is a second template of {name}: name one.")
        found[name] = frames
    return found


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
