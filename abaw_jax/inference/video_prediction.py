"""Predicts a video file: its sound, its faces, and the rows of all of them."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import BinaryIO

from abaw_jax.faces.observations import observe
from abaw_jax.inference.model import Model
from abaw_jax.inference.prediction import needed_frames, predict
from abaw_jax.inference.prediction_table import PredictionTable, Row, columns_of
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import Recording, read_recording
from abaw_jax.report import console


def predict_video(model: Model, video: Path, faces: str, every: int) -> PredictionTable:
    """The whole table of a video; warns if it breaks off.

    Raises:
      ValueError: if the video or the faces cannot be read, or ``every`` is no count.
    """
    if isinstance(every, bool) or not isinstance(every, Integral) or every < 1:
        raise ValueError(f"every is {every!r}: predict every n-th frame, n from 1.")
    remark = partial(warnings.warn, stacklevel=2)
    with tempfile.TemporaryFile() as sound:
        recording = open_recording(video, sound)
        rows = video_rows(model, video, faces, recording, every, remark=remark)
        return PredictionTable(columns_of(model.num_networks), _kept(video, rows))


def _kept(video: Path, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except MediaError as error:
        warnings.warn(f"{video} {error}; its table ends there.", stacklevel=4)


def require_video(video: Path) -> None:
    """Checks that there is such a file.

    Raises:
      ValueError: if there is none.
    """
    if not video.is_file():
        raise ValueError(f"there is no video {video}.")


def open_recording(video: Path, sound: BinaryIO) -> Recording:
    """Reads times and sound of a video; the sound goes into a file.

    Raises:
      ValueError: if there is no such file, or none with pictures.
    """
    require_video(video)
    try:
        recording = read_recording(video, sound)
    except MediaError as error:
        raise ValueError(f"{video} {error}.") from None
    if not recording.num_frames:
        raise ValueError(f"{video} holds no pictures.")
    return recording


def video_rows(
    model: Model,
    video: Path,
    faces: str,
    recording: Recording,
    every: int,
    *,
    detector: Path | None = None,
    remark: Callable[[str], None] = console.warn,
) -> Iterator[Row]:
    """Yields the rows of every n-th frame of a video.

    Args:
      model: that predicts.
      video: the file.
      faces: as of `abaw_jax.faces.observations.observe`.
      recording: of the video.
      every: predict the frames 1, 1 + every, and so on.
      detector: weights of a YuNet; None is the packaged one.
      remark: takes a sentence on faces that were given and left out.

    Raises:
      ValueError: if the faces cannot be read.
      MediaError: if the video breaks off; the rows before have been yielded.
    """
    wanted = needed_frames(model, recording, every)
    size = crop_size(model)
    options = {"detector": detector, "remark": remark}
    observations = observe(video, faces, size, recording, wanted, **options)
    return predict(model, observations, recording, every=every)


def crop_size(model: Model) -> int:
    """Side in pixels of the crops that the model was trained on."""
    frames = model.contract["inputs"].get("frames", {"shape": [0, 0, 112]})
    return frames["shape"][2]
