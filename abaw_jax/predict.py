"""Predicts every frame and face of a video: one row each, as CSV.

python -m abaw_jax.predict --model=MODEL --video=FILE --faces=detect --out=DIR
python -m abaw_jax.predict --model=MODEL --video=FOLDER --faces=FOLDER --out=DIR
python -m abaw_jax.predict --model=MODEL --video=camera:0 --faces=detect --out=DIR

--faces says where the faces are: detect (by YuNet, aligned by their landmarks; extra
faces), whole (each frame is one face), a CSV file with boxes (frame, x, y, width,
height; or as py-feat and OpenFace write them), or a folder of crops named by frame
(00001.jpg). For a folder of videos a folder holds NAME.csv or NAME/ for each video
NAME. A table that is complete is not made again. A camera (extra faces) is predicted
until Ctrl-C, or for --seconds; each call writes another table.
"""

import sys
from collections.abc import Sequence

from absl import app, flags

import abaw_jax
from abaw_jax import command_line

_MODEL = command_line.define_folder("model", "Folder of abaw_jax.export.")
_VIDEO = command_line.define_path("video", "Video file, folder of videos, or camera:0.")
_FACES = flags.DEFINE_string(
    "faces", None, "detect, whole, a CSV file with boxes, or a folder of crops."
)
_DETECTOR = command_line.define_file(
    "detector", "YuNet (.onnx) of your own for --faces=detect."
)
_OUT = command_line.define_folder("out", "Folder for one CSV file per video.")
_EVERY = flags.DEFINE_integer(
    "every", 1, "Predict every n-th frame only.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds", None, "Of a camera; else until Ctrl-C.", lower_bound=0
)
_PARQUET = flags.DEFINE_bool("parquet", False, "Also as Parquet (extra parquet).")
_PLOT = flags.DEFINE_bool("plot", False, "Also draw the most frequent face over time.")
_OVERLAY = flags.DEFINE_bool(
    "overlay", False, "Also write the video with boxes and values, NAME.overlay.mp4."
)


def main(argv: Sequence[str]) -> None:
    """Predicts what the flags name."""
    command_line.refuse_arguments(argv)
    model, video, out = _MODEL.value, _VIDEO.value, _OUT.value
    if model is None or video is None or out is None or not _FACES.value:
        raise app.UsageError("Name --model, --video, --faces and --out.")
    # What predicts takes seconds to load: not before --help or for a wrong flag.
    from abaw_jax.inference.model_card import untrained
    from abaw_jax.inference.video_tables import Request, check, write_tables
    from abaw_jax.path_faults import require_writable
    from abaw_jax.report import console
    from abaw_jax.training.jax_settings import set_up_jax

    request = Request(
        video,
        out,
        _FACES.value,
        detector=_DETECTOR.value,
        every=_EVERY.value,
        seconds=_SECONDS.value,
        parquet=_PARQUET.value,
        plot=_PLOT.value,
        overlay=_OVERLAY.value,
    )
    set_up_jax()
    try:
        require_writable(out)
        check(request)
        loaded = abaw_jax.load(model)
        if remark := untrained(loaded.contract):
            console.warn(remark)
        write_tables(loaded, request)
    except (ValueError, OSError) as error:
        sys.exit(f"abaw_jax.predict: {error}")
    except KeyboardInterrupt:
        what = "the same command continues"
        if request.camera is not None:
            what = "the table holds what was seen"
        print(f"abaw_jax: interrupted; {what}.", file=sys.stderr)
        sys.exit(130)


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
