"""Third stage: computes the features of every image and sound window once.

Two folders, ``image`` and ``sound``, with one ``.npy`` per subject, written atomically,
so a killed extraction goes on with the next subject, and processes share the subjects.
A file that is damaged is made again. `_load` lays them out as the table that training
gathers from.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.experiment import feature_files, model_factory
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.encoding import Encoded, Extract, Media, encode, mark_lost
from abaw_jax.experiment.feature_files import DamagedFeaturesError
from abaw_jax.experiment.given_features import (
    GivenFeatures,
    read_images,
    read_sounds,
)
from abaw_jax.experiment.onnx_encoder import OnnxEncoder
from abaw_jax.experiment.run import Run
from abaw_jax.experiment.sole_run import sole_stage
from abaw_jax.experiment.sound_windows import WindowEncoder
from abaw_jax.models.image_encoder import scale_frames
from abaw_jax.pipeline.read_errors import ReadErrorLog
from abaw_jax.pipeline.windows import sound_ends
from abaw_jax.report import console
from abaw_jax.store.frames import StoreError
from abaw_jax.training.processes import SECONDS_BETWEEN_LOOKS, process_slice
from abaw_jax.training.sharding import over_own_devices
from abaw_jax.training.state import Variables

EncodeSubject = Callable[[int, ReadErrorLog], Encoded]


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


@dataclass(frozen=True)
class _Stage:
    """The features of one stream.

    Attributes:
      title: for the progress bar.
      count: rows of a subject.
      compile: makes the encoder a function of subjects; called if there is any to
        encode.
    """

    title: str
    count: Callable[[int], int]
    compile: Callable[[], EncodeSubject]


def extract(
    run: Run, image: Encoder | OnnxEncoder | None, sound: Encoder | None
) -> FeatureTable:
    """Runs the encoders over all subjects that are not done yet, or damaged.

    Args:
      run: its ``inputs`` get a file for every subject.
      image: encoder of the images; ``None`` where no stream needs it, or its features
        are given (``config.features.image``).
      sound: encoder of the sound, or ``None``.
    """
    stages: dict[Artefact, _Stage] = {}
    if image is not None:
        stages[image_artefact(run, image)] = _image_stage(run, image)
    if sound is not None:
        stages[sound_artefact(run, sound)] = _sound_stage(run, sound)
    ready = [
        artefact.begin() and not _incomplete(artefact.directory) for artefact in stages
    ]
    what = "ready" if all(ready) else "every image and every sound, encoded once"
    console.stage_header("features", what)
    found: dict[str, list[np.ndarray]] = {}
    for (artefact, stage), done in zip(stages.items(), ready, strict=True):
        folder = artefact.directory
        with sole_stage(folder) if not done else nullcontext():
            found[folder.name] = _each_subject(run, folder, stage, complete=done)
            if not done:
                artefact.finish()
    return _load(run, found, "".join(each.fingerprint for each in stages))


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


def _image_stage(run: Run, encoder: Encoder | OnnxEncoder) -> _Stage:
    store = run.store
    crops = Media(
        count=lambda subject: store.subjects[subject].num_images,
        read=lambda subject, picked: store.frames(subject)[picked],
        blank=np.zeros((store.image_size, store.image_size, 3), np.uint8),
    )

    def compile() -> EncodeSubject:
        apply: Extract = (
            encoder if isinstance(encoder, OnnxEncoder) else on_images(run, encoder)
        )
        return partial(encode, apply, crops, run.config.features.batch_size)

    return _Stage("image features", crops.count, compile)


def on_images(run: Run, encoder: Encoder) -> Extract:
    """The encoder as a compiled function of crops, over this process's devices."""
    own, size = over_own_devices(), run.config.image_encoder.size

    @jax.jit
    def apply(variables: dict, frames: jax.Array) -> jax.Array:
        frames = own.split_rows({"frames": frames})["frames"]
        images = scale_frames(frames, size=size)
        return jnp.asarray(encoder.module.apply(variables, images, train=False))

    return partial(apply, jax.device_put(encoder.variables, own.replicated))


def _sound_stage(run: Run, encoder: Encoder) -> _Stage:
    store, every = run.store, run.config.features.sound_every

    def numbers(subject: int) -> np.ndarray:
        return np.asarray(store.numbers(subject))[::every]

    def compile() -> EncodeSubject:
        encode_windows = on_windows(run, encoder.variables)

        def of_subject(index: int, unreadable: ReadErrorLog) -> Encoded:
            ends = sound_ends(store, index, numbers(index))
            try:
                return mark_lost(encode_windows(store.sound(index), ends), [])
            except StoreError as error:
                unreadable.add(error)
            blank = np.zeros((len(ends), encode_windows.columns), np.float32)
            return mark_lost(blank, [*range(len(ends))])

        return of_subject

    def count(subject: int) -> int:
        return -(-store.subjects[subject].num_images // every)

    return _Stage("sound features", count, compile)


def on_windows(run: Run, variables: Variables) -> WindowEncoder:
    """The sound encoder as a function of a track and its windows."""
    config, settings = run.config, run.config.sound_encoder
    return WindowEncoder(
        model_factory.sound_encoder(config),
        variables,
        scale=settings.scale,
        softmax=settings.softmax,
        length=round(config.windows.sound_seconds * run.store.sample_rate),
        rate=run.store.sample_rate,
        batch=config.features.batch_size,
        tiled=run.windows.sound_pad == "tile",
    )


def _each_subject(
    run: Run, directory: Path, stage: _Stage, *, complete: bool
) -> list[np.ndarray]:
    """The features of every subject: read, or encoded where that is to be done."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{subject.name}.npy" for subject in run.store.subjects]
    share, again = process_slice(len(paths)), _incomplete(directory)
    found: dict[int, np.ndarray] = {}
    for index in share:
        path, rows = paths[index], stage.count(index)
        if _mark(path) in again:
            continue
        try:
            found[index] = feature_files.load(path, rows)
        except DamagedFeaturesError as error:
            if complete or path.exists():
                console.warn(f"{error}: it is made again.")
    to_do = [index for index in share if index not in found]
    found |= _encode_subjects(run, {index: paths[index] for index in to_do}, stage)
    return [
        found[index] if index in found else _wait_for(path, stage.count(index))
        for index, path in enumerate(paths)
    ]


def _wait_for(path: Path, rows: int) -> np.ndarray:
    """What another process writes."""
    while True:
        try:
            return feature_files.load(path, rows)
        except DamagedFeaturesError:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _encode_subjects(
    run: Run, paths: Mapping[int, Path], stage: _Stage
) -> dict[int, np.ndarray]:
    """Encodes some subjects and writes their files."""
    if not paths:
        return {}
    unreadable = ReadErrorLog(console.warn)
    encode_subject, found = stage.compile(), {}
    with console.progress(stage.title, len(paths)) as update:
        for done, (index, path) in enumerate(paths.items(), start=1):
            found[index], lost = encode_subject(index, unreadable)
            feature_files.save(path, found[index])
            _mark(path).touch() if lost else _mark(path).unlink(missing_ok=True)
            update(done)
    return found


def _mark(path: Path) -> Path:
    """Says that something of a subject could not be read."""
    return path.with_suffix(".unread")


def _has_nan(rows: np.ndarray) -> np.ndarray:
    return np.logical_or.reduce(np.isnan(rows), axis=1)


def _load(
    run: Run, found: Mapping[str, Sequence[np.ndarray]], fingerprint: str
) -> FeatureTable:
    """The table of the streams there are; another has one column of zeros.

    Args:
      run: its streams may be given.
      found: features of every subject by stream.
      fingerprint: of their stages.
    """
    subjects, every = run.store.subjects, run.config.features.sound_every
    given = _given(run)
    total = sum(subject.num_images for subject in subjects)
    images, sounds = np.zeros((total, 1), np.float32), np.zeros((1, 1), np.float32)
    rows = np.zeros(total, np.int32)
    if "image" in found:
        images = np.concatenate(found["image"])
    if "sound" in found:
        parts = found["sound"]
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
        fingerprint="".join(
            [fingerprint, *(each.fingerprint for each in given.values())]
        ),
    )


def _given(run: Run) -> dict[str, GivenFeatures]:
    """Features that the user brings, of the streams that are read."""
    reads = {"image": read_images, "sound": read_sounds}
    return {
        stream: reads[stream](run.store, folder)
        for stream in run.config.streams
        if (folder := run.config.features[stream])
    }
