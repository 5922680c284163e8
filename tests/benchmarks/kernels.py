"""What each form of `abaw_jax.kernels` gains on a CPU, in a step of its network.

A step of training at full size, as the package compiles it, against the same step with
one form replaced by the next best that is there, in most cases XLA's own operation.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from flax import linen as nn

from abaw_jax.kernels import conv1d, conv2d, grouped_conv2d, lstm
from abaw_jax.models import ImageEncoder, SoundNet, soundnet
from tests.benchmarks import timing
from tests.benchmarks.steps import Ours, initialise

TITLE = "Forms of kernels"


class _Trained(nn.Module):
    """The LSTM, called like an encoder."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        del train
        return lstm.LSTM(512)(x)


class Form(NamedTuple):
    """A form, and its replacement in the step without it."""

    name: str
    module: ModuleType
    attribute: str
    instead: Any


def _strided(x: jax.Array, kernel: jax.Array, strides: int) -> jax.Array:
    if strides == 1:
        return _IM2COL(x, kernel, 1)
    return conv2d.conv2d_matmul_kernel_gradient(x, kernel, strides)


def _xla(x: jax.Array, kernel: jax.Array, strides: int = 1) -> jax.Array:
    return conv2d.conv2d_xla(x, kernel, strides=strides)


def _autodiff(activation: Any, projected: jax.Array, recurrent: jax.Array) -> jax.Array:
    return lstm._forward(activation, projected, recurrent)[0]


def _pool(x: jax.Array, size: int) -> jax.Array:
    return nn.max_pool(x, (size,), (size,))


def _pairs(x: jax.Array, kernel: jax.Array, *, padding: int, **_: Any) -> jax.Array:
    return _BLOCKED(x, kernel, padding=padding, outputs=1)


_BLOCKED = conv1d.strided_conv1d_blocked
_IM2COL = conv2d.conv2d_im2col_strided
IMAGE_FORMS = (
    Form("Winograd at 28x28x64", conv2d, "_TILED_CHANNELS", range(0)),
    Form("im2col up to 8x8", conv2d, "_PATCHED_PIXELS", 0),
    Form("im2col of stride 2", conv2d, "conv2d_im2col_strided", _strided),
    Form("kernel gradient by products", conv2d, "conv2d_matmul_kernel_gradient", _xla),
    Form("one feature by a product", conv2d, "conv2d_single_pixel", _xla),
    Form("1x1 by a product", conv2d, "conv2d_1x1", _xla),
    Form("max-pool by shifts", conv2d, "max_pool2d_shifted", conv2d.max_pool2d_xla),
    Form("thin groups by a sum", grouped_conv2d, "_SUMMED_DEPTH", 0),
)
SOUND_FORMS = (
    Form("four results a frame", conv1d, "strided_conv1d_blocked", _pairs),
    Form("im2col of large kernels", conv1d, "strided_conv1d_im2col", _pairs),
    Form("max-pool by a tree", conv1d, "max_pool1d_tree", _pool),
    Form("a window at a time", soundnet, "map_batch_on_cpu", lambda layer, x: layer(x)),
)


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """The image encoder's forms, then SoundNet's, then the LSTM's."""
    rng = np.random.default_rng(0)
    images = rng.random((16, 112, 112, 3), np.float32)
    sounds = 100 * rng.standard_normal((8, 220_500), np.float32)
    steps = rng.standard_normal((256, 6, 512), np.float32)
    for module, x, forms in (
        (ImageEncoder(), images, IMAGE_FORMS),
        (SoundNet(), sounds, SOUND_FORMS),
        (_Trained(), steps, (Form("LSTM", lstm, "last_state", _autodiff),)),
    ):
        variables = initialise(module, x)
        build = partial(Ours, module, variables, x)
        ours = build()
        loss = ours.loss()
        for form in forms:
            yield _compare(form, build, ours, loss, repetitions)


def _compare(
    form: Form, build: Callable[[], Ours], ours: Ours, loss: float, repetitions: int
) -> timing.Comparison:
    with mock.patch.object(form.module, form.attribute, form.instead):
        without = build()
        # Traced while the form is replaced.
        np.testing.assert_allclose(without.loss(), loss, rtol=1e-3)
    return timing.compare(
        form.name,
        "a step of training with and without it",
        target=1.15,
        theirs=without.train,
        ours=ours.train,
        repetitions=repetitions,
    )
