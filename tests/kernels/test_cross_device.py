"""Networks whose rows are spread over devices compute what they do with all rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.models import (
    AffectHeads,
    AffectModel,
    FrameRegressor,
    ImageEncoder,
    SoundNet,
    dense_networks,
)
from abaw_jax.models.affect import SoundRegressor
from abaw_jax.models.soundnet import MINIMUM_SAMPLES
from abaw_jax.training.sharding import over_all_devices
from abaw_jax.training.state import init_variables

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
ROWS = 8


def encoder(**changes):
    return ImageEncoder((1, 1), (8, 8), cardinality=4, dtype=jnp.float64, **changes)


def heads(**changes):
    return AffectHeads(8, (16,), (8,), (8,), dtype=jnp.float64, **changes)


SOUNDNET = SoundNet((2, 2, 2, 2, 4, 4, 4), objects=4, scenes=1, dtype=jnp.float64)


FRAMES = (RNG.integers(0, 256, (ROWS, 24, 24, 3), np.uint8),)
FEATURES = (
    RNG.normal(size=(ROWS, 2, 6)).astype(np.float32),
    RNG.normal(size=(ROWS, 5)).astype(np.float32),
)
NETWORKS = {
    "heads": (heads(dropout_rate=0.5), FEATURES),
    "heads of each stream": (
        heads(dropout_rate=0.5, fusion="sum", image_dropout=0.3, stream_dropout=0.5),
        FEATURES,
    ),
    "frames": (FrameRegressor(encoder()), FRAMES),
    "frames, computed again": (FrameRegressor(encoder(remat=True)), FRAMES),
    "frames in microbatches": (
        AffectModel(
            encoder(),
            SOUNDNET,
            heads(streams=("image",)),
            image_size=24,
            train_encoders=True,
            batch_statistics=False,
            microbatches=3,
        ),
        (
            RNG.integers(0, 256, (ROWS, 2, 24, 24, 3), np.uint8),
            np.zeros((ROWS, 1), np.int16),  # not heard
        ),
    ),
    "sound": (
        SoundRegressor(SOUNDNET, softmax=False),
        (RNG.integers(-(2**12), 2**12, (ROWS, MINIMUM_SAMPLES), np.int16),),
    ),
}


@pytest.fixture
def float64():
    """Gradients through layers of BatchNorm magnify what float32 rounds off.

    The sound's differed by up to 1.4e-5 of the largest; by 2.5e-7 in float64.
    """
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_on_four_devices_give_what_they_give_together(name):
    assert_rows_may_be_spread(*NETWORKS[name])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [name for name in NETWORKS if "heads" in name])
def test_rows_on_four_devices_agree_in_the_form_of_heads_for_gpus(name, monkeypatch):
    def gpu(*arguments, default, **_):
        return default(*arguments)

    monkeypatch.setattr(dense_networks.lax, "platform_dependent", gpu)
    assert_rows_may_be_spread(*NETWORKS[name])


def assert_rows_may_be_spread(model, inputs):
    examples = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in inputs]
    variables = init_variables(model, jax.random.key(1), *examples)
    variables = jax.tree.map(lambda each: each.astype(jnp.float64), variables)

    def apply(params, batch_stats, rows):
        return model.apply(
            {"params": params, "batch_stats": batch_stats},
            *rows,
            train=True,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats"],
        )

    def run(network):
        def loss(params):
            outputs, changed = network(params, variables["batch_stats"], inputs)
            # Weights by row: a permutation of the rows would show.
            total = sum(
                jnp.einsum("b,b...->", jnp.arange(1.0, ROWS + 1), jnp.square(each))
                for each in outputs.values()
            )
            return total, (outputs, changed)

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    assert jax.device_count() == 4
    together, spread = run(apply), run(over_all_devices().by_rows(apply))
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(together[0]))
    for a, b in zip(*map(jax.tree.leaves, (together, spread)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * scale)
