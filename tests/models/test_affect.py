"""The wiring: stored bytes in, the same outputs as encoders and heads by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax import losses
from abaw_jax.models import (
    AffectHeads,
    AffectModel,
    FrameRegressor,
    ImageEncoder,
    SoundNet,
    SoundRegressor,
)
from abaw_jax.models.soundnet import MINIMUM_SAMPLES
from tests.support import networks64

STAGES, CARDINALITY = (1,), 4


def image_encoder():
    return ImageEncoder(stage_sizes=STAGES, widths=(8,), cardinality=CARDINALITY)


def sound_encoder():
    return SoundNet(widths=(2, 3, 4, 4, 5, 6, 8), objects=7, scenes=5)


def heads(**settings):
    return AffectHeads(
        lstm_size=6,
        extractor_sizes=(12, 10),
        head_sizes=(8, 7),
        discriminator_sizes=(5, 4),
        dropout_rate=0.0,
        **settings,
    )


def model(streams=("image", "sound"), **settings):
    return AffectModel(
        image_encoder(),
        sound_encoder(),
        heads(streams=streams),
        **{"image_size": 16, **settings},
    )


def stored(batch=2):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (batch, 2, 16, 16, 3), np.uint8)
    sound = rng.integers(-20000, 20000, (batch, MINIMUM_SAMPLES), np.int16)
    return jnp.asarray(frames), jnp.asarray(sound)


def variables_of(module, *data):
    return networks64.random_variables(
        jax.eval_shape(module.init, jax.random.key(0), *data)
    )


def part(variables, name):
    return {collection: tree[name] for collection, tree in variables.items()}


def image_features(variables, frames):
    flat = np.asarray(frames, np.float64).reshape(-1, *frames.shape[2:]) / 255
    features = networks64.image_encoder(
        part(variables, "image_encoder"),
        flat,
        stage_sizes=STAGES,
        cardinality=CARDINALITY,
    )
    return features.reshape(*frames.shape[:2], -1)


def sound_features(variables, sound, *, softmax=True, scale=256):
    waveform = np.asarray(sound, np.float64) / 32768 * scale
    objects, _ = networks64.soundnet(part(variables, "sound_encoder"), waveform)
    return (networks64.softmax(objects) if softmax else objects).mean(1)


@pytest.mark.parametrize("softmax", [True, False])
def test_outputs_equal_the_reference(softmax):
    module, (frames, sound) = model(softmax=softmax, sound_scale=255.0), stored()
    variables = variables_of(module, frames, sound)
    expected = networks64.heads(
        part(variables, "heads"),
        image_features(variables, frames),
        sound_features(variables, sound, softmax=softmax, scale=255),
    )
    actual = jax.jit(module.apply)(variables, frames, sound)
    for name in ("va", "expr", "au", "task"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4, atol=1e-4)


def test_a_stream_left_out_builds_no_encoder():
    frames, sound = stored()
    for streams, present, data in (
        (("image",), "image_encoder", (frames, None)),
        (("sound",), "sound_encoder", (None, sound)),
    ):
        module = model(streams)
        params = jax.eval_shape(module.init, jax.random.key(0), *data)["params"]
        assert set(params) == {present, "heads"}


@pytest.mark.slow
@pytest.mark.parametrize("train_encoders", [False, True])
def test_encoders_are_frozen_unless_they_are_trained(train_encoders):
    module, data = model(train_encoders=train_encoders), stored()
    variables = variables_of(module, *data)

    @jax.jit
    def gradient(params):
        def loss(params):
            outputs, updates = module.apply(
                {**variables, "params": params},
                *data,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.sum(outputs["expr"] ** 2), updates["batch_stats"]

        return jax.grad(loss, has_aux=True)(params)

    gradients, statistics = gradient(variables["params"])
    for name in ("image_encoder", "sound_encoder"):
        moved = any(np.any(leaf) for leaf in jax.tree.leaves(gradients[name]))
        assert moved == train_encoders
        before = jax.tree.leaves(variables["batch_stats"][name])
        after = jax.tree.leaves(statistics[name])
        same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        assert same != train_encoders
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients["heads"]["expr"]):
        # The bias of a layer before a batch normalisation cancels.
        cancels = jax.tree_util.keystr(path).endswith("['dense']['bias']")
        assert np.any(leaf) != cancels


def gradient_in(microbatches, data):
    """Compiled for shapes of ``data``; what is learnt depends on every row of it."""
    module = model(
        train_encoders=True, batch_statistics=False, microbatches=microbatches
    )

    def loss(params, statistics):
        outputs, updates = module.apply(
            {"params": params, "batch_stats": statistics},
            *data,
            train=True,
            mutable=["batch_stats"],
        )
        labels = jnp.linspace(-1, 1, 2 * len(data[0])).reshape(-1, 2)
        concordance = losses.ccc_loss(outputs["va"], labels).sum()
        return concordance + jnp.sum(outputs["expr"] ** 2), (outputs, updates)

    return jax.jit(jax.grad(loss, has_aux=True))


@pytest.mark.slow
def test_microbatches_change_memory_alone():
    """Sixteen images and eight sounds, which five slices do not divide."""
    data = stored(batch=8)
    variables = variables_of(model(), *data)
    arguments = variables["params"], variables["batch_stats"]
    programs = [gradient_in(n, data).lower(*arguments).compile() for n in (1, 5)]
    whole, sliced = (program(*arguments) for program in programs)
    # A bias before the heads' batch normalisation has no gradient but rounding.
    scale = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(whole[0]))
    for a, b in zip(*map(jax.tree.leaves, (whole, sliced)), strict=True):
        bound = 1e-4 * np.abs(a).max(initial=0) + 1e-6 * scale
        np.testing.assert_allclose(b, a, rtol=0, atol=bound)
    gradients, (_, updates) = sliced
    for name in ("image_encoder", "sound_encoder"):
        assert any(np.any(leaf) for leaf in jax.tree.leaves(gradients[name]))
        statistics = (variables["batch_stats"][name], updates["batch_stats"][name])
        for a, b in zip(*map(jax.tree.leaves, statistics), strict=True):
            np.testing.assert_array_equal(a, b)
    needed = [program.memory_analysis().temp_size_in_bytes for program in programs]
    assert needed[1] < needed[0] / 2


def test_statistics_of_the_batch_are_refused_in_microbatches():
    module, data = model(train_encoders=True, microbatches=2), stored()
    with pytest.raises(ValueError, match="all of it at once, not 2 microbatches"):
        jax.eval_shape(partial(module.init, train=True), jax.random.key(0), *data)


def test_the_reversal_scale_reaches_the_heads():
    module, data = model(), stored()
    variables = variables_of(module, *data)

    def gradient(scale):
        def loss(params):
            tree = {**variables, "params": params}
            outputs = module.apply(tree, *data, reversal_scale=scale)
            return jnp.sum(outputs["task"] ** 2)

        return jax.grad(loss)(variables["params"])["heads"]["extractor"]

    assert not any(np.any(leaf) for leaf in jax.tree.leaves(jax.jit(gradient)(0.0)))


def test_missing_input_is_named():
    frames, sound = stored()
    for data, message in (
        ((None, sound), r"frames must be uint8 \[B, T, H, W, 3\], got None"),
        ((frames[0], sound), r"got \(2, 16, 16, 3\)"),
        ((frames, None), "needs a waveform"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(model().init, jax.random.key(0), *data)


def test_frame_regressor_equals_the_reference_and_lifts_out():
    module, (frames, _) = FrameRegressor(image_encoder()), stored()
    variables = variables_of(module, frames[0])
    encoder = part(variables, "encoder")
    features = networks64.image_encoder(
        encoder,
        np.asarray(frames[0], np.float64) / 255,
        stage_sizes=STAGES,
        cardinality=CARDINALITY,
    )
    expected = np.tanh(networks64.Weights(variables).dense(features, "va"))
    actual = jax.jit(module.apply)(variables, frames[0])
    assert set(actual) == {"va"}
    np.testing.assert_allclose(actual["va"], expected, rtol=1e-4, atol=1e-4)
    apply = jax.jit(image_encoder().apply)
    lifted = apply(encoder, frames[0].astype(jnp.float32) / 255)
    np.testing.assert_allclose(lifted, features, rtol=1e-4, atol=1e-4)


def test_frame_regressor_resizes():
    module, (frames, _) = FrameRegressor(image_encoder(), image_size=24), stored()
    variables = variables_of(module, frames[0])
    larger = jax.image.resize(frames[0] / 255.0, (2, 24, 24, 3), "bilinear")
    w = networks64.Weights(variables)
    features = networks64.image_encoder(
        part(variables, "encoder"), larger, stage_sizes=STAGES, cardinality=CARDINALITY
    )
    actual = jax.jit(module.apply)(variables, frames[0])["va"]
    np.testing.assert_allclose(
        actual, np.tanh(w.dense(features, "va")), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("softmax", [False, True])
def test_sound_regressor_equals_the_reference(softmax):
    module = SoundRegressor(sound_encoder(), scale=255.0, softmax=softmax)
    _, sound = stored()
    variables = variables_of(module, sound)
    renamed = {name: {"sound_encoder": t["encoder"]} for name, t in variables.items()}
    features = sound_features(renamed, sound, softmax=softmax, scale=255)
    weights = networks64.Weights(variables)
    expected = np.tanh(weights.dense(weights.norm(features, "norm", 1e-5), "va"))
    actual = jax.jit(module.apply)(variables, sound)["va"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_large_logits_do_not_saturate_the_sound_regressor():
    module, (_, sound) = SoundRegressor(sound_encoder(), softmax=False), stored()
    variables = variables_of(module, sound)
    kernel = variables["params"]["encoder"]["objects"]["kernel"]
    variables["params"]["encoder"]["objects"]["kernel"] = 1000 * kernel
    apply = partial(module.apply, train=True, mutable=["batch_stats"])
    outputs, _ = jax.jit(apply)(variables, sound)
    assert np.abs(outputs["va"]).max() < 0.999


def test_regressors_train_their_encoder():
    frames, sound = stored()
    for module, data in (
        (FrameRegressor(image_encoder()), frames[:, 0]),
        (SoundRegressor(sound_encoder()), sound),
    ):
        variables = variables_of(module, data)
        apply = partial(module.apply, train=True, mutable=["batch_stats"])
        _, updates = jax.jit(apply)(variables, data)
        before, after = (
            jax.tree.leaves(t["batch_stats"]["encoder"]) for t in (variables, updates)
        )
        assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
