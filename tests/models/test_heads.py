"""The trained part is the published one, in count, in value and in its switches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from abaw_jax.models.heads import AffectHeads
from tests.support import networks64

SMALL = {
    "lstm_size": 6,
    "extractor_sizes": (12, 10),
    "head_sizes": (8, 7),
    "discriminator_sizes": (5, 4),
}


def features(batch=4, width=5, sounds=9):
    rng = np.random.default_rng(batch)
    image = rng.standard_normal((batch, 6, width))
    sound = rng.standard_normal((batch, sounds))
    return jnp.asarray(image, jnp.float32), jnp.asarray(sound, jnp.float32)


def shapes(module, image, sound):
    return jax.eval_shape(module.init, jax.random.key(0), image, sound)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def assert_outputs_equal(actual, expected):
    for name, values in actual.items():
        assert values.dtype == jnp.float32
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4)


def test_has_the_published_number_of_values():
    image = jax.ShapeDtypeStruct((2, 6, 512), jnp.float32)
    sound = jax.ShapeDtypeStruct((2, 1000), jnp.float32)
    variables = shapes(AffectHeads(), image, sound)
    assert count(variables) == 4_714_969
    assert count(variables["params"]["lstm"]) == 2_099_200
    outputs = jax.eval_shape(AffectHeads().apply, variables, image, sound)
    assert {name: leaf.shape for name, leaf in outputs.items()} == {
        "va": (2, 2),
        "expr": (2, 8),
        "au": (2, 12),
        "task": (2, 3),
    }


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_outputs_equal_the_reference(activation):
    ours = {"tanh": jnp.tanh, "relu": jax.nn.relu}[activation]
    theirs = {"tanh": np.tanh, "relu": networks64.relu}[activation]
    module, data = AffectHeads(**SMALL, lstm_activation=ours), features()
    variables = networks64.random_variables(shapes(module, *data))
    actual = jax.jit(module.apply)(variables, *data)
    expected = networks64.heads(variables, *data, activation=theirs)
    assert set(actual) == {"va", "expr", "au", "task"}
    assert_outputs_equal(actual, expected)


def test_training_normalises_by_the_batch_and_averages_with_0_99():
    module, data = AffectHeads(**SMALL, dropout_rate=0.0), features(8)
    variables = networks64.random_variables(shapes(module, *data))
    apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
    actual, updates = apply(variables, *data)
    assert_outputs_equal(actual, networks64.heads(variables, *data, train=True))

    w = networks64.Weights(variables)
    names = ("input_kernel", "recurrent_kernel", "bias")
    state = networks64.lstm([w(f"lstm/{n}") for n in names], np.float64(data[0]))
    first = w.dense(np.concatenate([state, data[1]], -1), "extractor/block1/dense")
    before = w("extractor/block1/norm/mean", "batch_stats")
    np.testing.assert_allclose(
        updates["batch_stats"]["extractor"]["block1"]["norm"]["mean"],
        0.99 * before + 0.01 * first.mean(0),
        atol=1e-5,
    )


def test_dropout_acts_in_training_only():
    module, data = AffectHeads(**SMALL), features(16)
    variables = networks64.random_variables(shapes(module, *data))

    @jax.jit
    def train(seed):
        streams = {"dropout": jax.random.key(seed)}
        settings = {"train": True, "mutable": ["batch_stats"], "rngs": streams}
        return module.apply(variables, *data, **settings)[0]["va"]

    assert np.array_equal(train(0), train(0))
    assert not np.allclose(train(0), train(1))
    # Without train no random stream is asked for.
    jax.eval_shape(module.apply, variables, *data)


@pytest.mark.parametrize("stream", ["image", "sound"])
def test_a_stream_left_out_is_not_built(stream):
    module, (image, sound) = AffectHeads(**SMALL, streams=(stream,)), features()
    given = {"image": (image, None), "sound": (None, sound)}[stream]
    variables = networks64.random_variables(shapes(module, *given))
    assert ("lstm" in variables["params"]) == (stream == "image")
    apply = jax.jit(module.apply)
    actual = apply(variables, *given)
    assert_outputs_equal(actual, networks64.heads(variables, *given))
    # What is passed all the same is ignored.
    assert_outputs_equal(apply(variables, image, sound), actual)


def towers(variables, stream):
    """The variables of one stream's tower as those of a network of that stream."""
    prefix = f"{stream}_"
    return {
        collection: {
            name.removeprefix(prefix): tree
            for name, tree in trees.items()
            if name.startswith(prefix) or (name == "lstm" and stream == "image")
        }
        for collection, trees in variables.items()
    }


def test_summed_streams_are_two_networks_whose_logits_are_added():
    module, (image, sound) = AffectHeads(**SMALL, fusion="sum"), features()
    variables = networks64.random_variables(shapes(module, image, sound))
    apply = jax.jit(module.apply)
    actual = apply(variables, image, sound)
    alone = {
        "image": networks64.heads(towers(variables, "image"), image, None),
        "sound": networks64.heads(towers(variables, "sound"), None, sound),
    }
    expected = {k: alone["image"][k] + alone["sound"][k] for k in alone["image"]}
    logits = [np.arctanh(each["va"]) for each in alone.values()]
    expected["va"] = np.tanh(sum(logits))
    assert_outputs_equal(actual, expected)
    # A stream that is missing leaves the other one's answer.
    assert_outputs_equal(apply(variables, image, None), alone["image"])
    assert_outputs_equal(apply(variables, None, sound), alone["sound"])


def test_rows_train_without_one_stream_as_often_as_without_the_other():
    module = AffectHeads(**SMALL, fusion="sum", dropout_rate=0.0, stream_dropout=0.5)
    data = features(4000)
    variables = networks64.random_variables(shapes(module, *data))

    @partial(jax.jit, static_argnames="stream_dropout")
    def train(stream_dropout, image, sound):
        network = module.clone(stream_dropout=stream_dropout)
        outputs, _ = network.apply(
            *(variables, image, sound),
            train=True,
            rngs={"dropout": jax.random.key(1)},
            mutable=["batch_stats"],
        )
        return outputs["expr"]

    image, sound = (train(0.0, *each) for each in ((data[0], None), (None, data[1])))
    dropped = train(0.5, *data)
    shares = [
        float(np.isclose(dropped, each, atol=1e-5).all(1).mean())
        for each in (image, sound, image + sound)
    ]
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.5], atol=0.03)
    np.testing.assert_allclose(sum(shares), 1, atol=1e-6)


def test_a_dropped_feature_is_dropped_from_all_images_of_a_window():
    module = AffectHeads(**SMALL, image_dropout=0.5, dropout_rate=0.0)
    image, sound = features(8)
    same = jnp.broadcast_to(image[:, :1], image.shape)
    variables = networks64.random_variables(shapes(module, same, sound))

    def seen(train):
        found = []

        def look(following, arguments, keywords, context):
            if context.module.name == "lstm":
                found.append(arguments[0])
            return following(*arguments, **keywords)

        with nn.intercept_methods(look):
            module.apply(
                *(variables, same, sound),
                train=train,
                rngs={"dropout": jax.random.key(0)},
                mutable=["batch_stats"],
            )
        return np.asarray(found[0])

    dropped = seen(train=True)
    np.testing.assert_array_equal(dropped, dropped[:, :1].repeat(6, axis=1))
    np.testing.assert_allclose((dropped == 0).mean(), 0.5, atol=0.2)
    np.testing.assert_array_equal(seen(train=False), same)


def test_without_discriminator_there_is_no_task():
    module, data = AffectHeads(**{**SMALL, "discriminator_sizes": None}), features()
    variables = shapes(module, *data)
    assert "discriminator" not in variables["params"]
    assert "task" not in jax.eval_shape(module.apply, variables, *data)


def test_num_domains_sets_the_classes_of_the_discriminator():
    module, data = AffectHeads(**SMALL, num_domains=4), features()
    outputs, _ = jax.eval_shape(
        partial(module.init_with_output), jax.random.key(0), *data
    )
    assert outputs["task"].shape == (4, 4)


def test_the_discriminator_pushes_the_extractor_backwards():
    module, data = AffectHeads(**SMALL), features()
    variables = networks64.random_variables(shapes(module, *data))

    @jax.jit
    def gradient(scale):
        def loss(params):
            tree = {**variables, "params": params}
            outputs = module.apply(tree, *data, reversal_scale=scale)
            return jnp.sum(outputs["task"] ** 2)

        return jax.grad(loss)(variables["params"])

    forwards, backwards, half = gradient(-1.0), gradient(1.0), gradient(0.5)
    for part, factor in (("extractor", -1), ("lstm", -1), ("discriminator", 1)):
        for a, b in zip(
            jax.tree.leaves(backwards[part]),
            jax.tree.leaves(forwards[part]),
            strict=True,
        ):
            np.testing.assert_allclose(a, factor * b, rtol=1e-5, atol=1e-6)
    kernel = ("extractor", "block1", "dense", "kernel")
    full, reduced = (
        tree[kernel[0]][kernel[1]][kernel[2]][kernel[3]] for tree in (backwards, half)
    )
    assert np.abs(full).max() > 1e-3
    np.testing.assert_allclose(reduced, full / 2, rtol=1e-5, atol=1e-6)


def test_bfloat16_returns_float32_close_by():
    module, data = AffectHeads(**SMALL), features()
    variables = networks64.random_variables(shapes(module, *data))
    exact = jax.jit(module.apply)(variables, *data)
    half = jax.jit(module.clone(dtype=jnp.bfloat16).apply)(variables, *data)
    for name, values in half.items():
        assert values.dtype == jnp.float32
        # Eight bits of mantissa through six layers.
        np.testing.assert_allclose(values, exact[name], atol=0.1)


@pytest.mark.parametrize(
    ("streams", "image", "sound", "message"),
    [
        (("video",), (2, 6, 5), (2, 9), "one or both of"),
        ((), (2, 6, 5), (2, 9), "one or both of"),
        (("image", "image"), (2, 6, 5), (2, 9), "once each"),
        (("image", "sound"), (2, 5), (2, 9), r"'image' needs features \[B, T, D\]"),
        (("image", "sound"), (2, 6, 5), None, r"'sound' needs .*, got None"),
        (("image", "sound"), (2, 6, 5), (3, 9), "2 windows of images, 3 of sound"),
    ],
)
def test_wrong_input_is_named(streams, image, sound, message):
    module = AffectHeads(**SMALL, streams=streams)
    data = [None if s is None else jnp.zeros(s) for s in (image, sound)]
    with pytest.raises(ValueError, match=message):
        shapes(module, *data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "gated"}, "choose concatenate or sum"),
        ({"stream_dropout": 0.3}, "needs fusion='sum'"),
    ],
)
def test_a_fusion_that_there_is_not_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        shapes(AffectHeads(**SMALL, **changes), *features())


def test_summed_streams_need_one():
    with pytest.raises(ValueError, match="'image' needs features"):
        shapes(AffectHeads(**SMALL, fusion="sum"), None, None)
