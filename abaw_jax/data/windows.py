"""Which images and which sound belong to a labelled frame.

A window is arithmetic on frame numbers: six images, ten frames apart, that end with
the labelled frame, and the ten seconds of sound before it (the paper's windows).
Nothing is cut out here; a `Samples` holds, per labelled frame, the rows of its images
in the store and the end of its sound.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from abaw_jax.data.store import Labels, Store


@dataclass(frozen=True)
class Windows:
    """The rule by which windows are laid.

    Attributes:
      images: number of images of a window, the labelled frame included.
      stride: frames of the video from one image to the next.
      sound_seconds: length of the sound that ends at the labelled frame.
    """

    images: int = 6
    stride: int = 10
    sound_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.images < 1 or self.stride < 1 or self.sound_seconds <= 0:
            raise ValueError(
                "A window needs at least one image, a stride of at least one frame "
                f"and some sound, got {self}."
            )


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
        picked = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return replace(self, **picked)


def training_samples(
    store: Store, labels: Labels, windows: Windows, *, with_sound: bool = True
) -> Samples:
    """Labelled frames whose windows are complete.

    A frame is left out when one of its images is missing, when its video has not yet
    run for ``sound_seconds``, or when the sound track breaks off before it.

    Args:
      store: the packed store.
      labels: of one set and split.
      windows: the rule.
      with_sound: False also keeps frames whose sound is incomplete, for training on
        images alone.
    """
    samples = _lay(store, labels, windows)
    complete = np.asarray((samples.image_rows >= 0).all(axis=1))
    if with_sound:
        length = round(windows.sound_seconds * store.sample_rate)
        complete &= samples.sound_end >= length
        # A container's sound may end a little before its last picture.
        slack = store.sample_rate // 2
        available = np.array([len(store.sound(i)) for i in range(len(store.subjects))])
        complete &= available[samples.subject] + slack >= samples.sound_end
    return samples.take(complete)


def evaluation_samples(store: Store, labels: Labels, windows: Windows) -> Samples:
    """Every labelled frame that has an image; a missing older image is held.

    The nearest stored image of the same subject stands in for a missing one, and sound
    from before the video's start is silence, so that each frame is scored.
    """
    samples = _lay(store, labels, windows)
    samples = samples.take(samples.image_rows[:, -1] >= 0)
    rows = samples.image_rows.copy()
    for subject in np.unique(samples.subject):
        here = samples.subject == subject
        rows[here] = _held(store, int(subject), rows[here], windows)
    return replace(samples, image_rows=rows)


def sound_ends(store: Store, subject: int, numbers: np.ndarray) -> np.ndarray:
    """Sample at which the sound of the frames ``numbers`` (1-based) ends, int64.

    Frame n of a video starts ``(n - 1) / fps`` seconds into it; computed from there for
    every frame, so a rounded number of samples per frame cannot drift.
    """
    fps = store.subjects[subject].fps
    return np.round((numbers - 1) / fps * store.sample_rate).astype(np.int64)


def cut_sound(sound: np.ndarray, end: int, length: int) -> np.ndarray:
    """The ``length`` samples of ``sound`` before ``end``; silence where it has none."""
    window = np.zeros(length, sound.dtype)
    first, last = max(end - length, 0), min(end, len(sound))
    if first < last:
        offset = first - (end - length)
        window[offset : offset + last - first] = sound[first:last]
    return window


def _lay(store: Store, labels: Labels, windows: Windows) -> Samples:
    steps = np.arange(1 - windows.images, 1, dtype=np.int32) * windows.stride
    numbers = labels.frame[:, None] + steps
    subjects = np.broadcast_to(labels.subject[:, None], numbers.shape)
    rows = store.row_of(subjects.ravel(), numbers.ravel()).reshape(numbers.shape)
    ends = np.empty(len(labels.frame), np.int64)
    for subject in np.unique(labels.subject):
        here = labels.subject == subject
        ends[here] = sound_ends(store, int(subject), labels.frame[here])
    return Samples(
        subject=labels.subject,
        image_rows=rows.astype(np.int32),
        sound_end=ends,
        **{
            name: getattr(labels, name)
            for task in ("va", "expr", "au")
            for name in (task, f"{task}_where")
        },
    )


def _held(store: Store, subject: int, rows: np.ndarray, windows: Windows) -> np.ndarray:
    """Missing rows (-1) of one subject replaced by its nearest stored image."""
    numbers = np.asarray(store.numbers(subject))
    first_row = store.subjects[subject].first_row
    steps = np.arange(1 - windows.images, 1) * windows.stride
    wanted = numbers[rows[:, -1] - first_row][:, None] + steps
    after = np.searchsorted(numbers, wanted).clip(0, len(numbers) - 1)
    before = (after - 1).clip(0)
    earlier = wanted - numbers[before] <= numbers[after] - wanted
    nearest = np.where(earlier, before, after) + first_row
    return np.where(rows >= 0, rows, nearest).astype(np.int32)
