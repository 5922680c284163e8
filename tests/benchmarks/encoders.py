"""The two encoders at full size, inference and a step of training, against PyTorch.

Sixteen images of 112x112 and eight windows of ten seconds, as they come from a store;
on a GPU 256 images of 224x224 and 64 windows. Both sides must give the same features
and the same loss in float32 before anything is timed.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import torch

from abaw_jax.models import ImageEncoder, SoundNet
from tests.benchmarks import peers, timing
from tests.benchmarks.steps import LEARNING_RATE, Ours, initialise

TITLE = "Encoders"
IMAGES, SIZE, SOUNDS = (256, 224, 64) if timing.ON_GPU else (16, 112, 8)
SAMPLES = 220_500


def comparisons(repetitions: int) -> Iterator[timing.Comparison]:
    """Image encoder, then sound encoder."""
    for name, sides, item, infers, trains in (
        ("image encoder", images, f"of {IMAGES} images", 1 / 1.1, 1 / 1.3),
        ("SoundNet", sounds, f"of {SOUNDS} windows of 10 s", 1 / 0.35, 1 / 0.7),
    ):
        with timing.exact_products():
            _check_equal(*sides(jnp.float32))
        theirs, ours = sides(timing.DTYPE)
        yield timing.compare(
            f"{name}, inference",
            f"a batch {item}",
            target=infers,
            theirs=theirs.infer,
            ours=ours.infer,
            repetitions=repetitions,
        )
        yield timing.compare(
            f"{name}, training",
            f"a step on a batch {item}: forward, backward, Adam",
            target=trains,
            theirs=theirs.train,
            ours=ours.train,
            repetitions=repetitions,
        )


class Theirs:
    """The same in PyTorch."""

    def __init__(self, network: peers.Network, x: torch.Tensor, dtype: Any) -> None:
        self._network, self._x = network, x.to(peers.DEVICE)
        self._run = timing.as_fast_as_it_gets(network, dtype)
        self._optimizer = torch.optim.Adam(
            network.parameters(), LEARNING_RATE, fused=True
        )

    def features(self) -> np.ndarray:
        """``[N, D]``."""
        self._network.eval()
        with torch.no_grad():
            return self._outputs().float().cpu().numpy()

    def loss(self) -> float:
        """Trains a step and returns what it minimised."""
        self._network.train()
        loss = (self._outputs().float() ** 2).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def infer(self) -> int:
        """One batch."""
        return bool(self.features().size)

    def train(self) -> int:
        """One step."""
        self.loss()
        return 1

    def _outputs(self) -> torch.Tensor:
        outputs = self._run(self._x)
        return outputs[0][:, :, 0] if isinstance(outputs, tuple) else outputs


def images(dtype: Any) -> tuple[Theirs, Ours]:
    """The image encoder of both sides."""
    x = np.random.default_rng(0).random((IMAGES, SIZE, SIZE, 3), np.float32)
    module = ImageEncoder(dtype=dtype)
    variables = initialise(module, x)
    network = peers.ImageEncoder(variables, module.stage_sizes, module.cardinality)
    network = network.to(memory_format=torch.channels_last)
    theirs = torch.from_numpy(x).permute(0, 3, 1, 2)  # channels last as it lies
    return Theirs(network, theirs, dtype), Ours(module, variables, x)


def sounds(dtype: Any) -> tuple[Theirs, Ours]:
    """The sound encoder of both sides."""
    x = 100 * np.random.default_rng(0).standard_normal((SOUNDS, SAMPLES), np.float32)
    module = SoundNet(dtype=dtype)
    variables = initialise(module, x)
    theirs = Theirs(peers.SoundNet(variables), torch.from_numpy(x), dtype)
    return theirs, Ours(module, variables, x)


def _check_equal(theirs: Theirs, ours: Ours) -> None:
    """Features, then the losses of two steps: the second follows the first's update."""
    expected, found = theirs.features(), ours.features()
    # Without statistics of their own, 34 layers of float32 end with a few 1e-4 apart.
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    for _ in range(2):
        np.testing.assert_allclose(ours.loss(), theirs.loss(), rtol=1e-3)
