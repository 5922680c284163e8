"""Third stage: computes the features of every image and sound window once.

Two folders, ``image`` and ``sound``, with one ``.npy`` per subject (`extraction`). All
of them become the table that training gathers from.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.experiment import model_factory
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.encoding import Encoded, Extract, Media, encode, mark_lost
from abaw_jax.experiment.extraction import (
    EncodeSubject,
    Stage,
    every_subject,
    forget_type,
    incomplete,
)
from abaw_jax.experiment.feature_table import FeatureTable, StreamRows
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
from abaw_jax.training.sharding import over_own_devices
from abaw_jax.training.state import Variables


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
    every = stages(run, image, sound)
    ready = [
        artefact.begin() and not incomplete(artefact.directory) for artefact in every
    ]
    what = "ready" if all(ready) else "every image and every sound, encoded once"
    console.stage_header("features", what)
    found: dict[str, StreamRows] = {}
    for (artefact, stage), done in zip(every.items(), ready, strict=True):
        folder = artefact.directory
        rows = _rows(run, [stage.count(i) for i in range(len(run.store.subjects))])
        with sole_stage(folder) if not done else nullcontext():
            every_subject(run, folder, stage, rows.put, complete=done)
            if not done:
                forget_type(folder)
                artefact.finish()
        found[folder.name] = rows
    return _table(run, found, "".join(each.fingerprint for each in every))


def stages(
    run: Run, image: Encoder | OnnxEncoder | None, sound: Encoder | None
) -> dict[Artefact, Stage]:
    """The features of each stream that has an encoder, by their folder."""
    found: dict[Artefact, Stage] = {}
    if image is not None:
        found[image_artefact(run, image)] = _image_stage(run, image)
    if sound is not None:
        found[sound_artefact(run, sound)] = _sound_stage(run, sound)
    return found


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


def _image_stage(run: Run, encoder: Encoder | OnnxEncoder) -> Stage:
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

    return Stage("image features", crops.count, compile)


def on_images(run: Run, encoder: Encoder) -> Extract:
    """The encoder as a compiled function of crops, over this process's devices."""
    own, size = over_own_devices(), run.config.image_encoder.size

    @jax.jit
    def apply(variables: dict, frames: jax.Array) -> jax.Array:
        frames = own.split_rows({"frames": frames})["frames"]
        images = scale_frames(frames, size=size)
        return jnp.asarray(encoder.module.apply(variables, images, train=False))

    once = jax.jit(encoder.module.inference_variables, out_shardings=own.replicated)
    return partial(apply, once(encoder.variables))


def _sound_stage(run: Run, encoder: Encoder) -> Stage:
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

    return Stage("sound features", count, compile)


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


def _rows(run: Run, counts: Sequence[int]) -> StreamRows:
    width = model_factory.lanes(jax.default_backend())
    return StreamRows(counts, model_factory.compute_dtype(run.config), width)


def _fill(
    run: Run, counts: Sequence[int], read: Callable[[int], np.ndarray]
) -> StreamRows:
    """Rows of features that are read by the number of their subject."""
    rows = _rows(run, counts)
    for subject in range(len(counts)):
        rows.put(subject, read(subject))
    return rows


def _table(run: Run, encoded: Mapping[str, StreamRows], made_from: str) -> FeatureTable:
    """The table of the streams there are; another has one column of zeros.

    Args:
      run: its streams may be given.
      encoded: features of the encoders by stream.
      made_from: fingerprint of their stages.
    """
    subjects, every = run.store.subjects, run.config.features.sound_every
    given, counts = _given(run), [subject.num_images for subject in subjects]
    steps = [np.arange(count) // every for count in counts]
    image, sound = encoded.get("image"), encoded.get("sound")
    if "image" in given:
        read, rows = given["image"].read, given["image"].rows
        image = _fill(run, counts, lambda index: read(index)[rows[index]])
    if "sound" in given:
        steps = given["sound"].rows
        sound = _fill(run, given["sound"].lengths, given["sound"].read)
    image = image or _fill(run, counts, lambda index: np.zeros((counts[index], 1)))
    if sound is None:
        steps = [np.zeros(count, int) for count in counts]
        sound = _fill(run, [1] * len(counts), lambda index: np.zeros((1, 1)))
    pairs = zip(sound.first, steps, strict=False)
    sound_rows = np.concatenate([first + step for first, step in pairs])
    lost = image.lost | sound.lost[sound_rows]
    if lost.any():
        console.warn(f"{lost.sum():,} images have no features; their rows are masked.")
    assert image.values is not None and sound.values is not None
    return FeatureTable(
        image=image.values,
        sound=sound.values,
        widths=(image.width, sound.width),
        sound_rows=sound_rows.astype(np.int32),
        lost=lost,
        fingerprint=made_from + "".join(each.fingerprint for each in given.values()),
    )


def require_given(run: Run) -> None:
    """Judges given features by their headers, before anything is encoded.

    Raises:
      ValueError: if some are missing or do not fit the store; names the first.
    """
    _given(run)


def _given(run: Run) -> dict[str, GivenFeatures]:
    """Features that the user brings, of the streams that are read."""
    reads = {"image": read_images, "sound": read_sounds}
    return {
        stream: reads[stream](run.store, folder)
        for stream in run.config.streams
        if (folder := run.config.features[stream])
    }
