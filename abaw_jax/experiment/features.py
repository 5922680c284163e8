"""Third stage: computes the features of every image and sound window once.

Two folders, ``image`` and ``sound``, with one ``.npy`` per subject, written atomically,
so a killed extraction goes on with the next subject, and processes share the subjects.
`_load` lays them out as the table that training gathers from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.given_features import (
    GivenFeatures,
    read_images,
    read_sounds,
)
from abaw_jax.experiment.onnx_encoder import OnnxEncoder
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.sole_run import sole_stage
from abaw_jax.models.image_encoder import scale_frames
from abaw_jax.models.soundnet import scale_waveform, sound_feature
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import cut_sound, sound_ends
from abaw_jax.report import console
from abaw_jax.store.frames import StoreError
from abaw_jax.store.reader import Subject, replacing
from abaw_jax.training.processes import process_slice, wait_until
from abaw_jax.training.sharding import over_own_devices


@dataclass(frozen=True)
class FeatureTable:
    """Encoder outputs of the whole store.

    Attributes:
      image: float32 ``[num_images, D]``, by the store's rows.
      sound: float32 ``[num_sounds, K]``.
      sound_rows: int32 ``[num_images]``, row of ``sound`` for every image.
      lost: bool ``[num_images]``, images whose crop or sound could not be read; their
        features are 0.
      fingerprint: of what it was made from.
    """

    image: np.ndarray
    sound: np.ndarray
    sound_rows: np.ndarray
    lost: np.ndarray
    fingerprint: str


Extract = Callable[[np.ndarray], jax.Array | np.ndarray]


@dataclass(frozen=True)
class _Media:
    """Input of an encoder, subject by subject.

    Attributes:
      count: items of a subject.
      read: some of them, stacked; raises `StoreError` where one cannot be read.
      blank: one item, for the place of such.
    """

    count: Callable[[int], int]
    read: Callable[[int, slice], np.ndarray]
    blank: np.ndarray


def extract(
    run: Run, image: Encoder | OnnxEncoder | None, sound: Encoder | None
) -> FeatureTable:
    """Runs the encoders over all subjects that are not done yet.

    Args:
      run: its ``inputs`` get a file for every subject.
      image: encoder of the images; ``None`` where no stream needs it, or its features
        are given (``config.features.image``).
      sound: encoder of the sound, or ``None``.
    """
    stages: dict[Artefact, Callable[[Path], None]] = {}
    if image is not None:
        stages[image_artefact(run, image)] = partial(_extract_images, run, image)
    if sound is not None:
        stages[sound_artefact(run, sound)] = partial(_extract_sounds, run, sound)
    ready = [
        artefact.begin() and not _incomplete(artefact.directory) for artefact in stages
    ]
    what = "ready" if all(ready) else "every image and every sound, encoded once"
    console.stage_header("features", what)
    for (artefact, extract_into), done in zip(stages.items(), ready, strict=True):
        if not done:
            with sole_stage(artefact.directory):
                extract_into(artefact.directory)
                artefact.finish()
    return _load(run, [*stages])


def image_artefact(run: Run, encoder: Encoder | OnnxEncoder) -> Artefact:
    """Fingerprint inputs of the image features."""
    return Artefact(
        run.inputs / "features" / "image",
        {
            "store": run.store.fingerprint,
            "encoder": encoder.fingerprint,
            "size": run.config.image_encoder.size,
            "dtype": run.config.dtype,
        },
    )


def sound_artefact(run: Run, encoder: Encoder) -> Artefact:
    """Fingerprint inputs of the sound features."""
    config = run.config
    return Artefact(
        run.inputs / "features" / "sound",
        {
            "store": run.store.fingerprint,
            "encoder": encoder.fingerprint,
            "softmax": config.sound_encoder.softmax,
            "scale": config.sound_encoder.scale,
            "seconds": config.windows.sound_seconds,
            "every": config.features.sound_every,
            "tiled": run.windows.sound_pad == "tile",
            "dtype": config.dtype,
        },
    )


def _incomplete(directory: Path) -> list[Path]:
    """Marks of the subjects of which something could not be read.

    One process tries them again; of several, each would see other features.
    """
    return [*directory.glob("*.unread")] if jax.process_count() == 1 else []


def _extract_images(run: Run, encoder: Encoder | OnnxEncoder, directory: Path) -> None:
    store = run.store
    crops = _Media(
        count=lambda subject: store.subjects[subject].num_images,
        read=lambda subject, picked: store.frames(subject)[picked],
        blank=np.zeros((store.image_size, store.image_size, 3), np.uint8),
    )
    apply = encoder if isinstance(encoder, OnnxEncoder) else _on_images(run, encoder)
    _each_subject(run, "image features", directory, apply, crops)


def _on_images(run: Run, encoder: Encoder) -> Extract:
    """The encoder as a compiled function of crops, over this process's devices."""
    own, size = over_own_devices(), run.config.image_encoder.size

    @jax.jit
    def apply(variables: dict, frames: jax.Array) -> jax.Array:
        frames = own.split_rows({"frames": frames})["frames"]
        images = scale_frames(frames, size=size)
        return jnp.asarray(encoder.module.apply(variables, images, train=False))

    return partial(apply, jax.device_put(encoder.variables, own.replicated))


def _extract_sounds(run: Run, encoder: Encoder, directory: Path) -> None:
    settings = run.config.sound_encoder
    store, every = run.store, run.config.features.sound_every
    length = round(run.config.windows.sound_seconds * store.sample_rate)
    tiled = run.windows.sound_pad == "tile"

    own = over_own_devices()

    @jax.jit
    def apply(variables: dict, waveform: jax.Array) -> jax.Array:
        waveform = own.split_rows({"waveform": waveform})["waveform"]
        waveform = scale_waveform(waveform, scale=settings.scale)
        objects, _ = encoder.module.apply(variables, waveform, train=False)
        return sound_feature(objects, softmax=settings.softmax)

    def cut(subject: int, picked: slice) -> np.ndarray:
        numbers = np.asarray(store.numbers(subject))[::every][picked]
        ends, sound = sound_ends(store, subject, numbers), store.sound(subject)
        windows = np.empty((len(ends), length), np.int16)
        for window, end in zip(windows, ends.tolist(), strict=True):
            cut_sound(sound, end, window, tiled=tiled)
        return windows

    variables = jax.device_put(encoder.variables, own.replicated)
    sounds = _Media(
        count=lambda subject: -(-store.subjects[subject].num_images // every),
        read=cut,
        blank=np.zeros(length, np.int16),
    )
    _each_subject(run, "sound features", directory, partial(apply, variables), sounds)


def _each_subject(
    run: Run, title: str, directory: Path, apply: Extract, media: _Media
) -> None:
    paths = [directory / f"{subject.name}.npy" for subject in run.store.subjects]
    size, unreadable = run.config.features.batch_size, ReadErrorLog(console.warn)
    directory.mkdir(parents=True, exist_ok=True)
    share, again = process_slice(len(paths)), _incomplete(directory)
    with console.progress(title, len(share)) as update:
        for done, index in enumerate(share, start=1):
            path = paths[index]
            mark = path.with_suffix(".unread")
            if not path.exists() or mark in again:
                encoded, lost = _encode(apply, media, index, size, unreadable)
                _save(path, encoded)
                mark.touch() if lost else mark.unlink(missing_ok=True)
            update(done)
    wait_until(lambda: all(path.exists() for path in paths))


def _encode(
    apply: Extract, media: _Media, index: int, size: int, unreadable: ReadErrorLog
) -> tuple[np.ndarray, list[int]]:
    """Encoder outputs of one subject, in batches of one shape, the last one padded.

    Also which of its media cannot be read; their outputs are NaN. No media, as of a
    subject whose crops were all unreadable, are one batch of padding: no rows, but as
    many columns as the others.
    """
    total, lost = media.count(index), []
    done: list[np.ndarray] = []
    pending = None
    for start in range(0, max(total, 1), size):
        batch, missing = _read(
            media, index, range(start, min(start + size, total)), unreadable
        )
        lost += missing
        padding = [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)]
        dispatched = apply(np.pad(batch, padding))
        # Read one behind: the device works while the next media are cut, and no more
        # than two batches wait there.
        if pending is not None:
            done.append(np.asarray(pending, np.float32))
        pending = dispatched
    done.append(np.asarray(pending, np.float32))
    features = np.concatenate(done)[:total]
    if not np.isfinite(features).all():
        raise FloatingPointError(
            "An encoder's output is not finite: look at the weights it was given."
        )
    features[lost] = np.nan
    return features, lost


def _read(
    media: _Media, index: int, rows: range, unreadable: ReadErrorLog
) -> tuple[np.ndarray, list[int]]:
    """Some media of a subject, and the rows that a blank replaces."""
    try:
        return media.read(index, slice(rows.start, rows.stop)), []
    except StoreError:
        pass  # read one by one below, to find which record is damaged
    batch, lost = np.repeat(media.blank[None], len(rows), axis=0), []
    for position, row in enumerate(rows):
        try:
            batch[position] = media.read(index, slice(row, row + 1))[0]
        except StoreError as error:
            unreadable.add(error)
            lost.append(row)
    return batch, lost


def _save(path: Path, values: np.ndarray) -> None:
    with replacing(path) as file:
        np.save(file, values, allow_pickle=False)


def _has_nan(rows: np.ndarray) -> np.ndarray:
    return np.logical_or.reduce(np.isnan(rows), axis=1)


def _load(run: Run, artefacts: Sequence[Artefact]) -> FeatureTable:
    """The table of the streams there are; another has one column of zeros."""
    subjects, every = run.store.subjects, run.config.features.sound_every
    found = {each.directory.name: each for each in artefacts}
    given = _given(run)
    total = sum(subject.num_images for subject in subjects)
    images, sounds = np.zeros((total, 1), np.float32), np.zeros((1, 1), np.float32)
    rows = np.zeros(total, np.int32)
    if "image" in found:
        images = np.concatenate(_saved(found["image"], subjects))
    if "sound" in found:
        parts = _saved(found["sound"], subjects)
        first, sounds = np.cumsum([0, *map(len, parts)]), np.concatenate(parts)
        rows = np.concatenate(
            [
                first[i] + np.arange(subject.num_images) // every
                for i, subject in enumerate(subjects)
            ]
        )
    if "image" in given:
        images = given["image"].values[given["image"].rows]
    if "sound" in given:
        sounds, rows = given["sound"].values, given["sound"].rows
    lost = _has_nan(images) | _has_nan(sounds)[rows]
    if lost.any():
        console.warn(f"{lost.sum():,} images have no features; their rows are masked.")
    return FeatureTable(
        image=np.nan_to_num(images, copy=False),
        sound=np.nan_to_num(sounds, copy=False),
        sound_rows=rows.astype(np.int32),
        lost=lost,
        fingerprint="".join(each.fingerprint for each in (*artefacts, *given.values())),
    )


def _given(run: Run) -> dict[str, GivenFeatures]:
    """Features that the user brings, of the streams that are read."""
    reads = {"image": read_images, "sound": read_sounds}
    return {
        stream: reads[stream](run.store, folder)
        for stream in run.config.streams
        if (folder := run.config.features[stream])
    }


def _saved(artefact: Artefact, subjects: Sequence[Subject]) -> list[np.ndarray]:
    paths = [artefact.directory / f"{subject.name}.npy" for subject in subjects]
    return [np.load(path, allow_pickle=False) for path in paths]
