"""Features of dense windows of sound: what they share computed once, or each alone.

    python -m tests.benchmarks.shared_sound

600 windows of ten seconds, thirty a second, of one track, by SoundNet at full size.
Both ways must give the same features to 1e-5. The host's part is timed with a device
that does nothing: windows are cut, and pieces of the track sent.
"""

import math
from collections.abc import Iterator
from functools import partial
from unittest import mock

import numpy as np

from abaw_jax.experiment import sound_windows
from abaw_jax.experiment.sound_windows import WindowEncoder
from abaw_jax.models import SoundNet
from tests.benchmarks import timing
from tests.benchmarks.steps import initialise

RATE, SECONDS, WINDOWS, BATCH = 22_050, 10, 600, 64


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """The features, then the host's part of them."""
    rng, encoder = np.random.default_rng(0), _encoder()
    track = rng.integers(-9_000, 9_000, 30 * RATE).astype(np.int16)
    ends = SECONDS * RATE + np.arange(WINDOWS) * RATE // 30
    shared = partial(encoder, track, ends)

    def alone() -> np.ndarray:
        with mock.patch.object(sound_windows, "_DENSE", math.inf):
            return shared()

    expected = alone()
    bound = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(shared(), expected, atol=bound)
    compare = partial(
        timing.compare,
        theirs=lambda: len(alone()),
        ours=lambda: len(shared()),
        repetitions=repetitions,
    )
    yield compare("dense windows", f"{WINDOWS} windows of {SECONDS} s", target=3)
    rows = np.zeros((BATCH, encoder.columns), np.float32)
    idle = dict.fromkeys(("_windows", "_share", "_of_piece"), lambda *_: rows)
    with mock.patch.multiple(encoder, **idle):
        yield compare("the host's part", "the same without a device", target=20)


def _encoder() -> WindowEncoder:
    net = SoundNet()
    variables = initialise(net, np.zeros((1, SECONDS * RATE), np.float32))
    rule = {"scale": 256.0, "softmax": False, "length": SECONDS * RATE, "rate": RATE}
    return WindowEncoder(net, variables, **rule, batch=BATCH)


if __name__ == "__main__":
    timing.show("Features of sound", [*comparisons(7)])
