"""Writes a table for each video, or for a camera, and what is made of the tables.

The CSV table comes first, row by row, and has its name once it is complete; Parquet,
plot and overlay are made from it, so that what is there is not predicted again, unless
the model, the video, the faces or the frames are others.
"""

import dataclasses
import errno
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from abaw_jax.faces.boxes import Observation
from abaw_jax.faces.camera import Camera
from abaw_jax.faces.detection import FaceDetector
from abaw_jax.faces.observations import (
    faces_of,
    observe_frames,
    require_faces_of_many,
)
from abaw_jax.inference.model import Model
from abaw_jax.inference.prediction import needed_frames, predict
from abaw_jax.inference.prediction_table import (
    Row,
    columns_of,
    require_parquet,
    write_parquet,
    write_table,
)
from abaw_jax.inference.table_record import MadeFrom, TableRecord, describe
from abaw_jax.inference.video_prediction import (
    crop_size,
    open_recording,
    require_video,
    video_rows,
)
from abaw_jax.path_faults import without_number
from abaw_jax.releases.crops import list_entries
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import VIDEO_SUFFIXES, Recording
from abaw_jax.report import console
from abaw_jax.store.sole_writer import sole_writer

_OVERLAY, _PARQUET, _PLOT = ".overlay.mp4", ".parquet", ".png"
Noted = Callable[[Path], AbstractContextManager[Any]]
"""Notes a file that is written within the context."""

_NO_SPACE = errno.ENOSPC, errno.EDQUOT
_CAMERA = re.compile(r"camera:(\d+)")


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be predicted, and written.

    Attributes:
      video: file, folder of videos, or camera:N.
      out: folder of what is written.
      faces: detect, whole, a CSV file or a folder.
      detector: weights of a YuNet; None is the packaged one.
      every: predict every n-th frame.
      seconds: of a camera; None is until it is interrupted.
      parquet, plot, overlay: whether these are written beside the CSV.
    """

    video: Path
    out: Path
    faces: str
    detector: Path | None = None
    every: int = 1
    seconds: float | None = None
    parquet: bool = False
    plot: bool = False
    overlay: bool = False

    @property
    def camera(self) -> int | None:
        """Number of the camera; None if it is none."""
        found = _CAMERA.fullmatch(str(self.video))
        return int(found[1]) if found else None


def check(request: Request) -> None:
    """Refuses what cannot be done, before the network is loaded.

    Raises:
      ValueError: says what is missing.
    """
    if request.parquet:
        require_parquet()
    if request.camera is not None:
        if request.faces not in ("detect", "whole"):
            raise ValueError("faces of a camera are --faces=detect or --faces=whole.")
        if request.overlay:
            raise ValueError("--overlay needs a video file: a camera is not recorded.")
    elif request.seconds is not None:
        raise ValueError("--seconds is for a camera, --video=camera:0.")
    elif request.video.is_dir():
        require_faces_of_many(request.faces)
    if request.faces == "detect":
        console.say(f"faces by {FaceDetector(request.detector).describe()}")


def write_tables(model: Model, request: Request) -> None:
    """Predicts every video of a request that has no table, or a camera.

    Raises:
      ValueError: if a video or its faces cannot be read, once all others of a folder
        have their tables, or if another call writes to the same folder; finished tables
        stay.
      OSError: if they cannot be written.
    """
    if request.camera is None and request.video.is_dir():
        videos = _videos(request.video)
        with sole_writer(request.out):
            _write_folder(model, videos, request)
        return
    with sole_writer(request.out):
        if request.camera is not None:
            _write_camera(model, request)
        else:
            _write_video(model, request.video, request)


def _write_folder(model: Model, videos: list[Path], request: Request) -> None:
    failed = []
    for video in videos:
        try:
            faces = faces_of(video, request.faces)
            _write_video(model, video, dataclasses.replace(request, faces=faces))
        except (ValueError, OSError) as error:
            if getattr(error, "errno", None) in _NO_SPACE:
                raise  # of the next video, too
            console.warn(_in_words(error))
            failed.append(video.name)
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(videos)} videos have no table, for the reasons "
            f"above: {', '.join(failed)}."
        )


def _in_words(error: ValueError | OSError) -> str:
    return without_number(error) if isinstance(error, OSError) else str(error)


def _videos(folder: Path) -> list[Path]:
    findings = Findings(folder)
    entries = list_entries(folder, findings)
    for anomaly in findings.anomalies():
        console.warn(f"{folder}: {anomaly}")
    files = [each for each in entries if each.is_file()]
    found = [each for each in files if each.suffix.lower() in VIDEO_SUFFIXES]
    videos = sorted(each for each in found if not each.name.endswith(_OVERLAY))
    if not videos:
        raise ValueError(f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)}).")
    if others := [each.name for each in entries if each.is_dir()]:
        console.warn(
            f"{folder}: videos in its folders are not read: {', '.join(others)}."
        )
    stem, count = Counter(each.stem for each in videos).most_common(1)[0]
    if count > 1:
        names = " and ".join(each.name for each in videos if each.stem == stem)
        raise ValueError(
            f"{folder} holds {names}, whose tables would both be {stem}.csv: rename "
            "one."
        )
    return videos


def _write_video(model: Model, video: Path, request: Request) -> None:
    require_video(video)
    table = request.out / f"{video.stem}.csv"
    record, overlay = TableRecord(table, video), table.with_suffix(_OVERLAY)
    asked = {
        overlay: request.overlay,
        table.with_suffix(_PARQUET): request.parquet,
        table.with_suffix(_PLOT): request.plot,
    }
    record.require_own([table, *(path for path, wanted in asked.items() if wanted)])
    given = request.faces, request.every, request.detector
    made_from = describe(model, video, *given)
    others = record.differences(made_from) if table.exists() else []
    if others:
        console.say(f"{table} is made again: other {', '.join(others)}")
    outdated = bool(others) or not table.exists()
    if not outdated:
        console.say(f"{table}  ready")
        if record.remark:
            console.warn(record.remark)
    draws = request.overlay and (outdated or not overlay.exists())
    if outdated or draws:
        with tempfile.TemporaryFile(dir=request.out) as sound:
            recording = open_recording(video, sound)
            if outdated:
                _write_table(model, video, request, recording, record, made_from)
            if draws:
                with record.writing(overlay):
                    _write_overlay(video, table, overlay, recording)
    if request.overlay and not draws:
        console.say(f"{overlay}  ready")
    _write_others(table, request, record.writing)


def _write_table(
    model: Model,
    video: Path,
    request: Request,
    recording: Recording,
    record: TableRecord,
    made_from: MadeFrom,
) -> None:
    for _, remark in recording.remarks:
        console.say(f"{video.name}: {remark}", style="dim")
    given = model, video, request.faces, recording, request.every
    rows = video_rows(*given, detector=request.detector)
    table = request.out / f"{video.stem}.csv"
    partial, faces, damage = table.with_name(f"{table.name}.partial"), 0, _Damage(video)
    try:
        with console.progress(video.name, recording.num_frames) as update:

            def shown() -> Iterator[Row]:
                nonlocal faces
                for row in damage.rows_before(rows):
                    faces += row["face"] is not None
                    update(row["frame"])
                    yield row

            count = write_table(partial, shown(), columns_of(model.num_networks))
        record.replace(partial, made_from, damage.remark)
    finally:
        partial.unlink(missing_ok=True)
    if not faces:
        console.warn(f"no face was found in {video}: its rows have no values.")
    console.say(f"{table}  {count:,} rows, {faces:,} with a face")


class _Damage:
    """Ends a table where its video breaks off; ``remark`` says so then."""

    def __init__(self, video: Path) -> None:
        self._video, self.remark = video, ""

    def rows_before(self, rows: Iterator[Row]) -> Iterator[Row]:
        try:
            yield from rows
        except MediaError as error:
            self.remark = f"{self._video} {error}; its table ends there."
            console.warn(self.remark)


def _write_overlay(video: Path, table: Path, path: Path, recording: Recording) -> None:
    from abaw_jax.inference.overlay import write_overlay

    with console.progress(path.name, recording.num_frames) as update:
        write_overlay(video, table, path, recording, update)
    console.say(f"{path}")


def _write_others(table: Path, request: Request, noted: Noted) -> None:
    """Writes what is made of the table alone."""
    if request.parquet:
        path = table.with_suffix(_PARQUET)
        with noted(path):
            write_parquet(table, path)
        console.say(f"{path}")
    if request.plot:
        from abaw_jax.inference.timeline_plot import draw_timeline

        path = table.with_suffix(_PLOT)
        try:
            with noted(path):
                draw_timeline(table, path)
            console.say(f"{path}")
        except ValueError as error:
            console.warn(str(error))  # the next video may have a face


def _write_camera(model: Model, request: Request) -> None:
    """Writes a new table in each call; an interrupted one is complete, too."""
    assert request.camera is not None
    camera = Camera(request.camera)
    if model.reads("waveform"):
        console.warn("a camera has no sound: the network reads silence.")
    name = f"camera{request.camera}-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    table = request.out / name
    end = "Ctrl-C" if request.seconds is None else f"{request.seconds:g} s are over"
    console.say(f"{table}  until {end}")
    rows = _Damage(request.video).rows_before(_camera_rows(model, camera, request))
    try:
        write_table(table, rows, columns_of(model.num_networks))
    finally:
        _write_others(table, request, nullcontext)


def _camera_rows(model: Model, camera: Camera, request: Request) -> Iterator[Row]:
    """Rows one by one: each is there before the next frame is read."""
    recording = Recording(FrameTimes(camera.fps), 0)
    size = crop_size(model)
    black = Observation(1, 0.0, pixels=np.zeros((size, size, 3), np.uint8))
    for _ in predict(model, [black], recording, batch_size=1):
        pass  # compiles the network before the clock starts
    wanted = needed_frames(model, recording, request.every)
    frames = camera.frames(wanted, request.seconds)
    seen = observe_frames(frames, request.faces, size, detector=request.detector)
    yield from predict(model, seen, recording, every=request.every, batch_size=1)
