"""Predicts every frame and face of a video: one row each, as CSV.

python -m abaw_jax.predict --model=MODEL --video=FILE --faces=detect --out=DIR
python -m abaw_jax.predict --model=MODEL --video=FOLDER --faces=FOLDER --out=DIR

--faces says where the faces are: detect (by YuNet, aligned by their landmarks; extra
faces), whole (each frame is one face), a CSV file with boxes (frame, x, y, width,
height; or as py-feat and OpenFace write them), or a folder of crops named by frame
(00001.jpg). For a folder of videos a folder holds NAME.csv or NAME/ for each video
NAME. A table that is complete is not made again.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from absl import app, flags

import abaw_jax
from abaw_jax import command_line
from abaw_jax.faces.detection import FaceDetector
from abaw_jax.faces.observations import faces_of, observe
from abaw_jax.inference.model import Model
from abaw_jax.inference.prediction import needed_frames, predict, write_table
from abaw_jax.inference.timeline_plot import draw_timeline
from abaw_jax.releases.crops import list_entries
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import VIDEO_SUFFIXES, Recording, read_recording
from abaw_jax.report import console
from abaw_jax.training.compilation_cache import enable_compilation_cache

_MODEL = command_line.define_path("model", "Folder of abaw_jax.export.")
_VIDEO = command_line.define_path("video", "Video file, or folder of videos.")
_FACES = flags.DEFINE_string(
    "faces", None, "detect, whole, a CSV file with boxes, or a folder of crops."
)
_DETECTOR = command_line.define_path(
    "detector", "YuNet (.onnx) of your own for --faces=detect."
)
_PLOT = flags.DEFINE_bool("plot", False, "Also draw the most frequent face over time.")
_OUT = command_line.define_path("out", "Folder for one CSV file per video.")
_EVERY = flags.DEFINE_integer(
    "every", 1, "Predict every n-th frame only.", lower_bound=1
)


def main(argv: Sequence[str]) -> None:
    """Predicts what the flags name."""
    command_line.refuse_arguments(argv)
    model, video, out = _MODEL.value, _VIDEO.value, _OUT.value
    if model is None or video is None or out is None or not _FACES.value:
        raise app.UsageError("Name --model, --video, --faces and --out.")
    enable_compilation_cache()
    try:
        if _FACES.value == "detect":
            console.say(f"faces by {FaceDetector(_DETECTOR.value).describe()}")
        _predict_all(abaw_jax.load(model), video, out)
    except (ValueError, OSError) as error:
        sys.exit(f"abaw_jax.predict: {error}")
    except KeyboardInterrupt:
        print("abaw_jax: interrupted; the same command continues.", file=sys.stderr)
        sys.exit(130)


def _predict_all(model: Model, video: Path, out: Path) -> None:
    videos = [video]
    if video.is_dir():
        findings = Findings(video)
        found = list_entries(video, findings)
        for anomaly in findings.anomalies():
            console.warn(f"{video}: {anomaly}")
        videos = [each for each in found if each.suffix.lower() in VIDEO_SUFFIXES]
        if not videos:
            raise ValueError(f"{video} holds no videos ({', '.join(VIDEO_SUFFIXES)}).")
    elif not video.is_file():
        raise ValueError(f"there is no video {video}.")
    out.mkdir(parents=True, exist_ok=True)
    for each in videos:
        faces = str(_FACES.value)
        faces = faces_of(each, faces) if video.is_dir() else faces
        _predict_video(model, each, faces, out / f"{each.stem}.csv")


def _predict_video(model: Model, video: Path, faces: str, table: Path) -> None:
    if table.exists():
        console.say(f"{table}  ready")
    else:
        _write_table(model, video, faces, table)
    if _PLOT.value:
        picture = table.with_suffix(".png")
        draw_timeline(table, picture)
        console.say(f"{picture}")


def _write_table(model: Model, video: Path, faces: str, table: Path) -> None:
    with tempfile.TemporaryFile(dir=table.parent) as sound:
        recording = _read(video, sound)
        partial = table.with_suffix(".partial")
        with console.progress(video.name, recording.num_frames) as update:
            rows = _rows(model, video, faces, recording)
            count = write_table(partial, _shown(rows, update))
    os.replace(partial, table)
    console.say(f"{table}  {count:,} rows")


def _read(video: Path, sound: BinaryIO) -> Recording:
    try:
        recording = read_recording(video, sound)
    except MediaError as error:
        raise ValueError(f"{video} {error}.") from None
    if not recording.num_frames:
        raise ValueError(f"{video} holds no pictures.")
    for _, remark in recording.remarks:
        console.say(f"{video.name}: {remark}", style="dim")
    return recording


def _rows(
    model: Model, video: Path, faces: str, recording: Recording
) -> Iterator[dict[str, Any]]:
    """Rows of a video; one that breaks off has those before the damage."""
    every = _EVERY.value
    size = model.contract["inputs"].get("frames", {"shape": [0, 0, 112]})["shape"][2]
    wanted = needed_frames(model, recording, every)
    observations = observe(
        video, faces, size, recording, wanted, detector=_DETECTOR.value
    )
    try:
        yield from predict(model, observations, recording, every=every)
    except MediaError as error:
        console.warn(f"{video} {error}; its table ends there.")


def _shown(rows: Iterator[dict[str, Any]], update: Any) -> Iterator[dict[str, Any]]:
    for row in rows:
        update(row["frame"])
        yield row


def run(argv: Sequence[str] | None = None) -> None:
    """Runs the command, by default with the arguments of the process."""
    command_line.run(main, argv)


if __name__ == "__main__":
    run()
