"""Third stage: every image and every sound window through the frozen encoders, once.

Two folders, ``image`` and ``sound``, with one ``.npy`` per subject, written atomically,
so a killed extraction goes on with the next subject. `load` lays them out as the table
that training gathers from.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.data.windows import cut_sound, sound_ends
from abaw_jax.models.image_encoder import scale_frames
from abaw_jax.models.soundnet import scale_waveform, sound_feature
from abaw_jax.report import console
from abaw_jax.stages.artefact import Artefact
from abaw_jax.stages.backbone import Encoder
from abaw_jax.stages.run import Run


@dataclass(frozen=True)
class FeatureTable:
    """Encoder outputs of the whole store.

    Attributes:
      image: float32 ``[num_images, D]``, by the store's rows.
      sound: float32 ``[num_sounds, K]``.
      sound_rows: int32 ``[num_images]``, row of ``sound`` for every image.
      fingerprint: of what it was made from.
    """

    image: np.ndarray
    sound: np.ndarray
    sound_rows: np.ndarray
    fingerprint: str


class Media(Protocol):
    """Crops or windows of sound; all of them need not fit into memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, picked: slice, /) -> np.ndarray: ...


Extract = Callable[[np.ndarray], jax.Array]
Batches = Callable[[int], np.ndarray]


def extract(run: Run, image: Encoder, sound: Encoder) -> FeatureTable:
    """Runs the encoders over all subjects that are not done yet."""
    config = run.config
    image_artefact = Artefact(
        run.workdir / "features" / "image",
        {
            "store": run.store.fingerprint,
            "encoder": image.fingerprint,
            "size": config.image_encoder.size,
        },
    )
    sound_artefact = Artefact(
        run.workdir / "features" / "sound",
        {
            "store": run.store.fingerprint,
            "encoder": sound.fingerprint,
            "softmax": config.sound_encoder.softmax,
            "scale": config.sound_encoder.scale,
            "seconds": config.windows.sound_seconds,
            "every": config.features.sound_every,
            "tiled": run.windows.sound_pad == "tile",
        },
    )
    ready = image_artefact.begin(), sound_artefact.begin()
    what = "ready" if all(ready) else "every image and every sound, encoded once"
    console.stage_header("features", what)
    if not ready[0]:
        _extract_images(run, image, image_artefact.directory)
        image_artefact.finish()
    if not ready[1]:
        _extract_sounds(run, sound, sound_artefact.directory)
        sound_artefact.finish()
    return _load(run, image_artefact, sound_artefact)


def _extract_images(run: Run, encoder: Encoder, directory: Path) -> None:
    size = run.config.image_encoder.size

    @jax.jit
    def apply(variables: dict, frames: jax.Array) -> jax.Array:
        images = scale_frames(frames, size=size)
        return jnp.asarray(encoder.module.apply(variables, images, train=False))

    variables = jax.device_put(encoder.variables)
    _each_subject(
        run,
        "image features",
        directory,
        lambda batch: apply(variables, batch),
        lambda subject: run.store.frames(subject),
    )


def _extract_sounds(run: Run, encoder: Encoder, directory: Path) -> None:
    settings = run.config.sound_encoder
    store, every = run.store, run.config.features.sound_every
    length = round(run.config.windows.sound_seconds * store.sample_rate)
    tiled = run.windows.sound_pad == "tile"

    @jax.jit
    def apply(variables: dict, waveform: jax.Array) -> jax.Array:
        waveform = scale_waveform(waveform, scale=settings.scale)
        objects, _ = encoder.module.apply(variables, waveform, train=False)
        return sound_feature(objects, softmax=settings.softmax)

    def windows(subject: int) -> "_Windows":
        numbers = np.asarray(store.numbers(subject))[::every]
        ends = sound_ends(store, subject, numbers)
        return _Windows(store.sound(subject), ends, length, tiled)

    variables = jax.device_put(encoder.variables)
    _each_subject(
        run,
        "sound features",
        directory,
        lambda batch: apply(variables, batch),
        windows,
    )


@dataclass(frozen=True)
class _Windows:
    """Sound windows as a sequence that cuts a slice when it is asked for one."""

    sound: np.ndarray
    ends: np.ndarray
    length: int
    tiled: bool

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, picked: slice) -> np.ndarray:
        ends = self.ends[picked]
        windows = np.empty((len(ends), self.length), self.sound.dtype)
        for window, end in zip(windows, ends.tolist(), strict=True):
            cut_sound(self.sound, end, window, tiled=self.tiled)
        return windows


def _each_subject(
    run: Run,
    title: str,
    directory: Path,
    apply: Extract,
    media: Callable[[int], "Media"],
) -> None:
    subjects = run.store.subjects
    with console.progress(title, len(subjects)) as update:
        for index, subject in enumerate(subjects):
            path = directory / f"{subject.name}.npy"
            if not path.exists():
                _save(path, _in_batches(apply, media(index), _batch_size(run)))
            update(index + 1)


def _batch_size(run: Run) -> int:
    return run.config.features.batch_size


def _in_batches(apply: Extract, media: "Media", size: int) -> np.ndarray:
    """Encoder outputs of ``media`` in batches of one shape, the last one padded.

    No media, as of a subject whose crops were all unreadable, are one batch of padding:
    no rows, but as many columns as the others.
    """
    done: list[np.ndarray] = []
    pending = None
    for start in range(0, max(len(media), 1), size):
        batch = np.asarray(media[start : start + size])
        padding = [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)]
        dispatched = apply(np.pad(batch, padding))
        # Read one behind: the device works while the next media are cut, and no more
        # than two batches wait there.
        if pending is not None:
            done.append(np.asarray(pending, np.float32))
        pending = dispatched
    done.append(np.asarray(pending, np.float32))
    return np.concatenate(done)[: len(media)]


def _save(path: Path, values: np.ndarray) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, values, allow_pickle=False)
    os.replace(partial, path)


def _load(run: Run, image: Artefact, sound: Artefact) -> FeatureTable:
    every = run.config.features.sound_every
    names = [subject.name for subject in run.store.subjects]
    sounds = [_read(sound.directory, name) for name in names]
    first = np.cumsum([0, *map(len, sounds)])
    rows = [
        first[i] + np.arange(subject.num_images) // every
        for i, subject in enumerate(run.store.subjects)
    ]
    return FeatureTable(
        image=np.concatenate([_read(image.directory, name) for name in names]),
        sound=np.concatenate(sounds),
        sound_rows=np.concatenate(rows).astype(np.int32),
        fingerprint=f"{image.fingerprint}{sound.fingerprint}",
    )


def _read(directory: Path, name: str) -> np.ndarray:
    return np.load(directory / f"{name}.npy", allow_pickle=False)
