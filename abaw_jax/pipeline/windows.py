"""Windows: the images and the sound that belong to a labelled frame.

A window is arithmetic on frame numbers: six images, ten frames apart, that end with
the labelled frame, and the ten seconds of sound before it (the paper's windows).
Nothing is cut out here; a `Samples` holds, per labelled frame, the rows of its images
in the store and the end of its sound.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.labels import Labels
from abaw_jax.releases.sound_file import SoundFile
from abaw_jax.store.frames import StoreError
from abaw_jax.store.reader import Store

MISSING_ROW = -1
"""Stands for an image that there is not, where ``missing`` is "zero"."""

_BLOCK = 8192

_CHOICES = {
    "unit": ("frames", "seconds"),
    "missing": ("drop", "hold", "zero"),
    "sound_pad": ("drop", "zero", "tile"),
}


@dataclass(frozen=True)
class Windows:
    """The rule by which windows are laid.

    Attributes:
      images: number of images of a window, the labelled frame included.
      stride: from one image to the next.
      unit: of the stride, "frames" of the video or "seconds" by their times.
      sound_seconds: length of the sound that ends at the labelled frame.
      missing: what becomes of a training window that lacks an older image: "drop" it,
        "hold" the nearest image of the same person, or put "zero" in its place. Every
        frame is evaluated: "zero" there too, else held.
      sound_pad: what becomes of a training window that begins before its video, or
        outlasts the sound: "drop" it, pad with "zero", or "tile" what sound there is
        to the front. Every frame is evaluated: tiled if so here, else padded.
    """

    images: int = 6
    stride: float = 10
    unit: str = "frames"
    sound_seconds: float = 10.0
    missing: str = "drop"
    sound_pad: str = "drop"

    def __post_init__(self) -> None:
        if self.images < 1 or self.stride <= 0 or self.sound_seconds <= 0:
            raise ValueError(
                "A window needs at least one image, a stride above 0 and some sound, "
                f"got {self}."
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"windows.{name} is {getattr(self, name)!r}; choose "
                    f"{', '.join(choices)}."
                )

    def steps(self, fps: np.ndarray) -> np.ndarray:
        """Frames from the labelled one to each image, at constant rates.

        Args:
          fps: frames a second of the video, ``[N]``.

        Returns:
          int64 ``[N, T]``, the last column 0.
        """
        rate = fps if self.unit == "seconds" else np.ones_like(fps)
        return np.round(self._strides() * rate[:, None]).astype(np.int64)

    def frame_numbers(self, ends: np.ndarray, times: FrameTimes) -> np.ndarray:
        """Numbers of the frames of windows of one video.

        Args:
          ends: numbers of the labelled frames ``[N]``, counted from 1.
          times: of the frames of the video.

        Returns:
          int64 ``[N, T]``, oldest first; below 1 before the video.
        """
        if self.unit == "frames" or times.constant:
            return ends[:, None] + self.steps(np.array([times.fps]))
        return times.nearest(times.seconds(ends)[:, None] + self._strides())

    def _strides(self) -> np.ndarray:
        return np.arange(1 - self.images, 1) * self.stride


@dataclass(frozen=True)
class Samples:
    """Labelled frames of one set with the places of their windows.

    Attributes:
      subject: int32 ``[N]``, index into the store's subjects.
      image_rows: int32 ``[N, T]``, rows of the store's images, oldest first; the last
        column is the labelled frame.
      sound_end: int64 ``[N]``, sample after the window's last one, at the store's rate.
      va, va_where, expr, expr_where, au, au_where: labels and masks as in `Labels`.
    """

    subject: np.ndarray
    image_rows: np.ndarray
    sound_end: np.ndarray
    va: np.ndarray
    va_where: np.ndarray
    expr: np.ndarray
    expr_where: np.ndarray
    au: np.ndarray
    au_where: np.ndarray

    def __len__(self) -> int:
        return len(self.subject)

    def take(self, rows: np.ndarray) -> "Samples":
        """The samples at ``rows``, an index or a boolean mask."""
        # Indexing copies value by value, np.take a row at once: 85 to 40 ms for the
        # 1.6 million frames of a set.
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        picked = {
            field.name: np.take(getattr(self, field.name), rows, axis=0)
            for field in fields(self)
        }
        return replace(self, **picked)


def training_samples(
    store: Store, labels: Labels, windows: Windows, *, with_sound: bool = True
) -> Samples:
    """Labelled frames whose windows are complete, or completed as the rule says.

    By default a frame is left out when one of its images is missing, when its video has
    not yet run for ``sound_seconds``, or when the sound track breaks off before it.

    Args:
      store: the packed store.
      labels: of one set and split.
      windows: the rule.
      with_sound: False also keeps frames whose sound is incomplete, for training on
        images alone.
    """
    samples = _window_rows(store, labels, windows)
    needed = slice(None) if windows.missing == "drop" else slice(-1, None)
    complete = np.asarray((samples.image_rows[:, needed] != MISSING_ROW).all(axis=1))
    if with_sound and windows.sound_pad == "drop":
        length = round(windows.sound_seconds * store.sample_rate)
        complete &= samples.sound_end >= length
        # A container's sound may end a little before its last picture.
        slack = store.sample_rate // 2
        available = np.array(
            [sound_length(store, i) for i in range(len(store.subjects))]
        )
        complete &= available[samples.subject] + slack >= samples.sound_end
    samples = samples.take(complete)
    return (
        _fill_with_nearest(store, samples, windows)
        if windows.missing == "hold"
        else samples
    )


def evaluation_samples(store: Store, labels: Labels, windows: Windows) -> Samples:
    """Every labelled frame that has an image; a missing older image is held.

    The nearest stored image of the same subject replaces a missing one (or zeros,
    if the rule says so), and sound from before the video's start is silence, so that
    each frame is scored.
    """
    samples = _window_rows(store, labels, windows)
    samples = samples.take(samples.image_rows[:, -1] != MISSING_ROW)
    return (
        samples
        if windows.missing == "zero"
        else _fill_with_nearest(store, samples, windows)
    )


def sound_ends(
    store: Store, subject: int | np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Sample at which the sound of the frames ``numbers`` (1-based) ends, int64.

    Frame n starts ``(n - 1) / fps`` seconds into its video, or at its recorded time;
    computed from there for every frame, so a rounded number of samples per frame cannot
    drift. One subject stands for all frames, or there is one for each.
    """
    subjects = np.broadcast_to(subject, numbers.shape)
    seconds = (numbers - 1) / _rates(store)[subjects]
    for index in np.intersect1d(store.variable_rate(), subjects).tolist():
        here = subjects == index
        seconds[here] = store.frame_times(index).seconds(numbers[here])
    return np.round(seconds * store.sample_rate).astype(np.int64)


def nearest_frames(numbers: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Index of the frame nearest to each wanted one; of two, the earlier.

    Args:
      numbers: of the frames there are, ascending ``[F]``.
      wanted: numbers, any shape.
    """
    after = np.searchsorted(numbers, wanted).clip(0, len(numbers) - 1)
    before = (after - 1).clip(0)
    earlier = wanted - numbers[before] <= numbers[after] - wanted
    return np.where(earlier, before, after)


def cut_sound(
    sound: np.ndarray | SoundFile, end: int, window: np.ndarray, *, tiled: bool = False
) -> None:
    """Fills ``window`` with the samples of ``sound`` before ``end``.

    Silence where it has none, or with ``tiled`` in front what it has, again and again.
    Written in place, for a window is 440 kB: cut alone and stacked afterwards a batch
    takes twice the time.
    """
    start = end - len(window)
    there = sound[max(start, 0) : max(end, 0)]
    before = min(max(-start, 0), len(window))
    after = before + len(there)
    window[:before] = 0
    window[before:after] = there
    window[after:] = 0
    if tiled and before and len(there):
        window[:before] = np.resize(there[::-1], before)[::-1]


def _window_rows(store: Store, labels: Labels, windows: Windows) -> Samples:
    rows = np.empty((len(labels), windows.images), np.int32)
    by_subject = windows.steps(_rates(store))
    # In blocks whose intermediate arrays stay in the processor's cache.
    for start in range(0, len(labels), _BLOCK):
        block = slice(start, start + _BLOCK)
        subject = labels.subject[block, None]
        numbers = labels.frame[block, None] + by_subject[subject[:, 0]]
        rows[block] = store.row_of(subject, numbers)
    for index in np.intersect1d(store.variable_rate(), labels.subject).tolist():
        here = labels.subject == index
        numbers = windows.frame_numbers(labels.frame[here], store.frame_times(index))
        rows[here] = store.row_of(index, numbers)
    return Samples(
        subject=labels.subject,
        image_rows=rows,
        sound_end=sound_ends(store, labels.subject, labels.frame),
        **{
            name: getattr(labels, name)
            for task in ("va", "expr", "au")
            for name in (task, f"{task}_where")
        },
    )


def sound_length(store: Store, subject: int) -> int:
    """Samples of the subject's sound; none if its file cannot be read any more."""
    try:
        return store.sound_length(subject)
    except StoreError:
        return 0


def _rates(store: Store) -> np.ndarray:
    """Frames a second by subject."""
    return np.array([subject.fps for subject in store.subjects])


def _fill_with_nearest(store: Store, samples: Samples, windows: Windows) -> Samples:
    """The samples with every missing image replaced by its subject's nearest one."""
    rows = samples.image_rows.copy()
    incomplete = np.flatnonzero((rows == MISSING_ROW).any(axis=1))
    order = np.argsort(samples.subject[incomplete], kind="stable")
    incomplete = incomplete[order]
    subjects, starts = np.unique(samples.subject[incomplete], return_index=True)
    groups = np.split(incomplete, starts[1:])
    for subject, here in zip(subjects.tolist(), groups, strict=False):
        numbers = np.asarray(store.numbers(subject))
        first_row = store.subjects[subject].first_row
        ends = numbers[rows[here, -1] - first_row]
        wanted = windows.frame_numbers(ends, store.frame_times(subject))
        nearest = nearest_frames(numbers, wanted) + first_row
        rows[here] = np.where(rows[here] == MISSING_ROW, nearest, rows[here])
    return replace(samples, image_rows=rows)
