"""What each form of `abaw_jax.kernels` gains on a CPU, in a step of its network.

Inference or a step of training at full size, as the package compiles it, against the
same with one form replaced by XLA's own operation or the next best form.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from flax import linen as nn
from jax import lax

from abaw_jax.kernels import conv1d, convolution_cpu, grouped_conv2d
from abaw_jax.models import ImageEncoder, SoundNet, soundnet
from tests.benchmarks import timing
from tests.benchmarks.steps import Ours, initialise

TITLE = "Forms of kernels"


class NormThenPool(nn.Module):
    """`BatchNormMaxPool` in the usual order."""

    size: int
    use_running_average: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[N, S, C]`` to ``[N, floor(S / size), C]``."""
        norm = nn.BatchNorm(self.use_running_average, momentum=0.9, dtype=self.dtype)
        nn.share_scope(self, norm)
        return conv1d.max_pool1d(norm(x), size=self.size)


class Form(NamedTuple):
    """A form, what is timed, and its replacement in the step without it."""

    name: str
    timed: Callable[[Ours], int]
    module: ModuleType
    attribute: str
    instead: Any


def _strided(x: jax.Array, kernel: jax.Array, *, padding: int) -> jax.Array:
    layout = ("NWC", "WIO", "NWC")
    pads = [(padding, padding)]
    return lax.conv_general_dilated(x, kernel, (2,), pads, dimension_numbers=layout)


IMAGE_FORMS = (
    Form("thin groups by a sum", Ours.infer, grouped_conv2d, "_SUMMED_DEPTH", 0),
    Form(
        "gradient of a kernel in parts",
        Ours.train,
        convolution_cpu,
        "_PART_BYTES",
        sys.maxsize,
    ),
    Form(
        "few outputs by one product",
        Ours.infer,
        convolution_cpu,
        "_convolve_to_few",
        lambda x, kernel, pads: convolution_cpu._convolve_cpu(x, kernel, (1, 1), pads),
    ),
)
SOUND_FORMS = (
    Form("stride 2 by pairs", Ours.train, conv1d, "strided_conv1d", _strided),
    Form(
        "eight steps of time as one",
        Ours.infer,
        convolution_cpu,
        "_BLOCK",
        sys.maxsize,
    ),
    Form(
        "pool, then normalise", Ours.train, soundnet, "BatchNormMaxPool", NormThenPool
    ),
    Form(
        "a window at a time",
        Ours.infer,
        soundnet,
        "map_batch_on_cpu",
        lambda layer, x: layer(x),
    ),
)


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """The image encoder's forms, then SoundNet's."""
    rng = np.random.default_rng(0)
    images = rng.random((16, 112, 112, 3), np.float32)
    sounds = 100 * rng.standard_normal((8, 220_500), np.float32)
    for module, x, forms in (
        (ImageEncoder(), images, IMAGE_FORMS),
        (SoundNet(), sounds, SOUND_FORMS),
    ):
        variables = initialise(module, x)
        build = partial(Ours, module, variables, x)
        ours = build()
        for form in forms:
            yield _compare(form, build, ours, repetitions)


def _compare(
    form: Form, build: Callable[[], Ours], ours: Ours, repetitions: int
) -> timing.Comparison:
    with mock.patch.object(form.module, form.attribute, form.instead):
        without = build()
        # Traced while the form is replaced.
        form.timed(without)
    return timing.compare(
        form.name,
        "inference" if form.timed is Ours.infer else "a step of training",
        target=1.15,
        theirs=partial(form.timed, without),
        ours=partial(form.timed, ours),
        repetitions=repetitions,
    )
