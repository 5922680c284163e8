"""Predicts a video: faces in, one row per frame and face out, in constant memory.

Each crop is encoded once; windows of images are gathered from the last features of
each face, by the rule of training (`abaw_jax.pipeline.windows`): an image that is
missing is the nearest one there is, sound before the video is silence.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from jax.typing import ArrayLike

from abaw_jax.faces.boxes import Observation
from abaw_jax.faces.video_frames import Wanted
from abaw_jax.freed_memory import release_freed_memory
from abaw_jax.inference.model import Model, Predictions
from abaw_jax.inference.prediction_table import SPREAD, UNIT_NAMES, Row, columns_of
from abaw_jax.pipeline.windows import Windows, cut_sound, nearest_frames
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.images import MediaError
from abaw_jax.releases.media import Recording
from abaw_jax.releases.sound_file import SoundFile
from abaw_jax.tasks import AFFECT, EXPRESSIONS

BATCH = 8
"""Observations that are computed together, unless they are to be shown at once.

More are not faster on a CPU and take more memory: 32 crops 100 MB.
"""
_RELEASED_EVERY = 16  # batches; in a thousand, 50 MB collect between what is in use
SOUNDS = 8
"""Windows of sound that are computed together."""


class _Face:
    """The last features of one face, as far back as a window reaches."""

    def __init__(
        self, windows: Windows, times: FrameTimes, *, zeros: bool, every: int
    ) -> None:
        self._windows, self._times = windows, times
        self._zeros, self._every = zeros, every
        self._kept: deque[tuple[int, np.ndarray]] = deque()
        self._count, self._sound_end = 0, 0
        self.last = 0  # number of its last frame

    def add(
        self, number: int, feature: np.ndarray, sound_end: int
    ) -> tuple[np.ndarray, int]:
        """Takes the next feature; gives those of its window ``[T, D]``, and its sound.

        Of each ``every`` images, all have the sound of the first, as in training.
        """
        if self._count % self._every == 0:
            self._sound_end = sound_end
        self._count += 1
        self.last = number
        self._kept.append((number, feature))
        wanted = self._windows.frame_numbers(np.array([number]), self._times)[0]
        # One older than the window stays: it may be the nearest.
        while len(self._kept) > 1 and self._kept[1][0] <= wanted[0]:
            self._kept.popleft()
        numbers = np.array([each for each, _ in self._kept])
        nearest = nearest_frames(numbers, wanted)
        images = np.stack([self._kept[k][1] for k in nearest])
        if self._zeros:
            images[numbers[nearest] != wanted] = 0
        return images, self._sound_end


def predict(
    model: Model,
    observations: Iterable[Observation],
    recording: Recording,
    *,
    every: int = 1,
    batch_size: int = BATCH,
) -> Iterator[Row]:
    """Yields a row per observation of every n-th frame, in their order.

    Args:
      model: whose contract has the windows.
      observations: of one video, by frame.
      recording: of the video, with its sound and the times of its frames.
      every: predict the frames 1, 1 + every, and so on.
      batch_size: observations that are computed together, crops of one call of the
        image encoder and windows of one call of the heads.

    Raises:
      MediaError: if the observations do; the rows before it have been yielded.

    Yields:
      Values by name of `columns_of`; those that a frame without a face has not are
      None.
    """
    config = model.config
    layout, times = Windows(**config.windows), recording.frame_times
    rule = {
        "zeros": config.windows.missing == "zero",
        "every": config.features.sound_every,
    }
    faces: dict[int, _Face] = {}
    cutter = _SoundFeatures(model, recording.track)
    nothing = dict.fromkeys(columns_of(model.num_networks))
    for number, batch in enumerate(_batches(observations, batch_size)):
        seen = [each for each in batch if each.pixels is not None]
        features = _encode_images(model, seen, batch_size)
        windows = []
        for each, feature in zip(seen, features, strict=True):
            face = faces.setdefault(each.face, _Face(layout, times, **rule))
            window = face.add(each.frame, feature, cutter.end(each.time))
            if (each.frame - 1) % every == 0:
                windows.append(window)
        values = iter(_predict_windows(model, windows, cutter, batch_size))
        if number % _RELEASED_EVERY == 0:  # also what compiling the first took
            release_freed_memory()
        for each in batch:
            if (each.frame - 1) % every == 0:
                found = None if each.pixels is None else next(values)
                yield nothing | _row(each, found)
        if rule["every"] == 1:
            # A face that has been away for twice a window is nearer to itself than to
            # what it was before: nothing of it is needed.
            last = batch[-1].frame
            first = layout.frame_numbers(np.array([last]), times)[0, 0]
            oldest = 2 * first - last
            faces = {k: face for k, face in faces.items() if face.last >= oldest}


def needed_frames(model: Model, recording: Recording, every: int) -> Wanted:
    """Says which frames are predicted, or are images of a window that is."""
    windows, times = Windows(**model.config.windows), recording.frame_times
    if model.config.features.sound_every > 1:
        return lambda number: True  # they are counted by the images of each face
    if windows.unit == "frames" or times.constant:
        steps = windows.frame_numbers(np.array([0]), times)[0]
        return lambda number: bool(((number - 1 - steps) % every == 0).any())
    ends = np.arange(1, recording.num_frames + 1, every)
    needed = {*windows.frame_numbers(ends, times).ravel().tolist()}
    # A decoder may show more frames than the file has packets.
    return lambda number: number in needed or number > recording.num_frames


class _SoundFeatures:
    """Features of windows of sound, each computed once while it is in use."""

    def __init__(self, model: Model, track: SoundFile) -> None:
        self._model, self._track = model, track
        self._known: dict[int, np.ndarray] = {}
        self._read = model.reads("waveform")
        if self._read:
            waveform = model.contract["inputs"]["waveform"]
            self._rate, self._length = waveform["rate"], waveform["shape"][1]
            self._tiled = waveform["pad"] == "tile"

    def end(self, time: float) -> int:
        """Sample at which the sound of a frame ends; 0 where all of it is silence."""
        return round(time * self._rate) if self._read and not self._track.silent else 0

    def of(self, ends: Sequence[int]) -> np.ndarray | None:
        """Features of the windows with these ends ``[B, K]``."""
        if not self._read:
            return None
        new = sorted({*ends} - self._known.keys())
        for start in range(0, len(new), SOUNDS):
            part = new[start : start + SOUNDS]
            windows = np.zeros((SOUNDS, self._length), np.int16)
            for window, end in zip(windows, part, strict=False):
                cut_sound(self._track, end, window, tiled=self._tiled)
            features = np.asarray(self._model.encode_sound(windows))
            self._known |= dict(zip(part, features, strict=False))
        found = np.stack([self._known[end] for end in ends])
        self._known = {end: self._known[end] for end in {*ends}}
        return found


def _encode_images(
    model: Model, seen: Sequence[Observation], batch_size: int
) -> np.ndarray:
    """Features of the crops ``[N, D]``; of a model that reads no images, nothing."""
    if not model.reads("frames") or not seen:
        return np.zeros((len(seen), 1), np.float32)
    crops = np.stack([each.pixels for each in seen if each.pixels is not None])
    return np.asarray(model.encode_images(_padded(crops, batch_size)))[: len(seen)]


def _predict_windows(
    model: Model,
    windows: Sequence[tuple[np.ndarray, int]],
    cutter: _SoundFeatures,
    batch_size: int,
) -> list[Predictions]:
    """What the network says of each window."""
    if not windows:
        return []
    images = _padded(np.stack([images for images, _ in windows]), batch_size)
    sound = cutter.of([end for _, end in windows])
    found = model.predict_features(
        images if model.reads("frames") else None,
        None if sound is None else _padded(sound, batch_size),
    )
    found = jax.tree.map(np.asarray, found)
    return [
        jax.tree.map(lambda values, k=k: values[k], found) for k in range(len(windows))
    ]


def _padded(values: np.ndarray, rows: int) -> np.ndarray:
    """Rows of zeros up to a batch, so that each network compiles once."""
    return np.pad(values, [(0, rows - len(values)), *[(0, 0)] * (values.ndim - 1)])


def _row(each: Observation, found: Predictions | None) -> Row:
    """The values that there are."""
    row: Row = {"frame": each.frame, "time": each.time, "confidence": each.confidence}
    if each.box is not None:
        row |= dict(zip(("x", "y", "width", "height"), each.box, strict=True))
    if found is not None:
        best = int(np.argmax(found.expressions))
        row |= {"face": each.face, "expression": EXPRESSIONS[best]}
        row |= _named((*AFFECT, *EXPRESSIONS, *UNIT_NAMES), *found[:3])
        if (spread := found.spread) is not None:
            shown = spread.expressions[best : best + 1]
            row |= _named(SPREAD, spread.valence_arousal, shown, spread.action_units)
    return row


def _named(names: Sequence[str], *values: ArrayLike) -> Row:
    numbers = np.concatenate([np.asarray(each) for each in values])
    return dict(zip(names, numbers.tolist(), strict=True))


def _batches(
    observations: Iterable[Observation], batch_size: int
) -> Iterator[list[Observation]]:
    """Observations in batches; those before a failure come before it is raised."""
    batch: list[Observation] = []
    failure = None
    try:
        for each in observations:
            batch.append(each)
            if len(batch) == batch_size:
                yield batch
                batch = []
    except MediaError as error:
        failure = error
    if batch:
        yield batch
    if failure is not None:
        raise failure
