"""Measures how long the networks take on this machine for an image, a sound, a window.

Each network runs batches of zeros, with weights of 0. The programs of the encoders are
those of the stage that computes the features, which then finds them compiled.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from abaw_jax.experiment import features, model_factory
from abaw_jax.experiment.encoders import Encoder
from abaw_jax.experiment.run import Run
from abaw_jax.training.state import Variables, variable_shapes

_LONG_ENOUGH = 0.5  # seconds of calls


class Rates:
    """Seconds of a prediction, each measured when it is asked for the first time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._measured: dict[str, float] = {}

    def of_stream(self, stream: str) -> float:
        """Of the encoder of a stream, for an image or a window of sound."""
        measure = {"image": _seconds_of_image, "sound": _seconds_of_sound}[stream]
        return self._once(stream, measure)

    def of_network(self) -> float:
        """Of the network that trains, for a window: the heads, or encoders as well."""
        config = self._run.config
        seconds = self._once("heads", _seconds_of_window)
        if config.regime == "end_to_end":
            read = {"image": config.windows.images, "sound": 1}
            seconds += sum(read[each] * self.of_stream(each) for each in config.streams)
        return seconds

    def _once(self, name: str, measure: Callable[[Run], float]) -> float:
        if name not in self._measured:
            self._measured[name] = measure(self._run) / jax.process_count()
        return self._measured[name]


def shapes_of_image_encoder(run: Run) -> Variables:
    """Variables of the configured image encoder."""
    side = run.config.image_encoder.size
    example = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    return variable_shapes(model_factory.image_encoder(run.config), example)


def shapes_of_sound_encoder(run: Run) -> Variables:
    """Variables of the configured sound encoder."""
    example = jax.ShapeDtypeStruct((1, _samples_of_window(run)), np.float32)
    return variable_shapes(model_factory.sound_encoder(run.config), example)


def shapes_of_heads(run: Run) -> Variables:
    """Variables of the heads on features of the configured encoders."""
    examples = model_factory.feature_shapes(run.config)
    return variable_shapes(model_factory.heads(run.config), *examples)


def _samples_of_window(run: Run) -> int:
    return round(run.config.windows.sound_seconds * run.store.sample_rate)


def _seconds_of_image(run: Run) -> float:
    side, weights = run.store.image_size, _zeros(shapes_of_image_encoder(run))
    frames = np.zeros((run.config.features.batch_size, side, side, 3), np.uint8)
    encoder = Encoder(model_factory.image_encoder(run.config), weights, "")
    return _seconds(features.on_images(run, encoder), frames) / len(frames)


def _seconds_of_sound(run: Run) -> float:
    """Of a window among those of twenty seconds, as dense as they are."""
    store, fps = run.store, np.median([each.fps for each in run.store.subjects])
    hop = store.sample_rate * run.config.features.sound_every / fps
    ends = np.arange(0, 20 * store.sample_rate, hop).astype(np.int64)
    encode = features.on_windows(run, _zeros(shapes_of_sound_encoder(run)))
    return _seconds(encode, np.zeros(1, np.int16), ends) / len(ends)


def _seconds_of_window(run: Run) -> float:
    rows, heads = run.config.train.batch_size, model_factory.heads(run.config)
    shapes = model_factory.feature_shapes(run.config)
    inputs = [np.zeros((rows, *each.shape[1:]), np.float32) for each in shapes]
    apply = jax.jit(partial(heads.apply, train=False))
    return _seconds(partial(apply, _zeros(shapes_of_heads(run))), *inputs) / rows


def _zeros(shapes: Variables) -> Variables:
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def _seconds(apply: Callable[..., Any], *inputs: np.ndarray) -> float:
    """The shortest of a few calls, after one that compiles."""
    jax.block_until_ready(apply(*inputs))
    durations: list[float] = []
    while sum(durations) < _LONG_ENOUGH:
        began = time.perf_counter()
        jax.block_until_ready(apply(*inputs))
        durations.append(time.perf_counter() - began)
    return min(durations)
