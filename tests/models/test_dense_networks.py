"""Networks side by side compute what Flax's layers compute one network at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from abaw_jax.models import dense_networks
from abaw_jax.models.dense_networks import DenseNetwork, side_by_side

ROWS, DEPTH = 24, 10
# Of two depths, in an order that mixes them: sizes of the blocks, outputs.
NETWORKS = {
    "first": ((8, 6), 2),
    "shallow": ((5,), 3),
    "second": ((8, 6), 7),
    "other": ((4, 9), 3),
    "linear": ((), 4),
}


class Together(nn.Module):
    """``first``, ``shallow`` and ``second`` read one input, the others the other."""

    outputs: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, y, train=False):
        networks = [
            DenseNetwork(
                DEPTH, sizes, size if self.outputs else None, self.dropout, name=name
            )
            for name, (sizes, size) in NETWORKS.items()
        ]
        return side_by_side(networks, [x, x, x, y, y], train=train, dtype=x.dtype)


class OneByOne(nn.Module):
    """The same of `flax.linen.Dense`, `BatchNorm` and `Dropout`."""

    outputs: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, y, train=False):
        results = []
        for (name, (sizes, size)), each in zip(
            NETWORKS.items(), [x, x, x, y, y], strict=True
        ):
            outputs = size if self.outputs else None
            network = FlaxNetwork(sizes, outputs, self.dropout, name=name)
            results.append(network(each, train))
        return results


class FlaxNetwork(nn.Module):
    sizes: tuple
    outputs: int | None
    dropout: float

    @nn.compact
    def __call__(self, x, train):
        for number, size in enumerate(self.sizes, start=1):
            x = FlaxBlock(size, self.dropout, name=f"block{number}")(x, train)
        if self.outputs is None:
            return x
        glorot = nn.initializers.glorot_uniform()
        return nn.Dense(self.outputs, kernel_init=glorot, name="output")(x)


class FlaxBlock(nn.Module):
    features: int
    dropout: float

    @nn.compact
    def __call__(self, x, train):
        glorot = nn.initializers.glorot_uniform()
        x = nn.Dense(self.features, x.dtype, kernel_init=glorot, name="dense")(x)
        settings = {"momentum": 0.99, "epsilon": 1e-3, "dtype": x.dtype}
        x = nn.BatchNorm(not train, **settings, name="norm")(x)
        return nn.Dropout(self.dropout, deterministic=not train)(nn.swish(x))


@pytest.fixture(params=["CPU", "GPU"])
def platform(request, monkeypatch):
    """Products in the form for either."""
    if request.param == "GPU":
        monkeypatch.setattr(
            dense_networks.lax,
            "platform_dependent",
            lambda *arguments, default, **_: default(*arguments),
        )


def inputs():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(1, 2, (ROWS, DEPTH)), jnp.float32) for _ in "xy"]


def variables(module):
    """Initial ones, moved so that no scale is 1 and no bias 0."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: leaf + rng.uniform(0.1, 0.5, leaf.shape).astype(np.float32),
        jax.jit(module.init)(jax.random.key(0), *inputs()),
    )


def run(module, train, dtype=jnp.float32):
    """Outputs, statistics and gradients of parameters and inputs."""
    tree, xy = jax.tree.map(lambda a: a.astype(dtype), (variables(module), inputs()))

    def loss(params, xy):
        outputs, changed = module.apply(
            {**tree, "params": params},
            *xy,
            train=train,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats"],
        )
        weights = [jnp.sin(jnp.arange(1.0, each.size + 1)) for each in outputs]
        total = sum(
            jnp.vdot(each.ravel(), weight)
            for each, weight in zip(outputs, weights, strict=True)
        )
        return total, (outputs, changed)

    return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(tree["params"], xy)


@pytest.mark.parametrize("outputs", [True, False])
def test_variables_start_as_those_of_flax_bit_for_bit(outputs):
    start = [
        jax.jit(module(outputs).init)(jax.random.key(5), *inputs())
        for module in (Together, OneByOne)
    ]
    assert jax.tree.structure(start[0]) == jax.tree.structure(start[1])
    for a, b in zip(*map(jax.tree.leaves, start), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def assert_equal(found, expected, tolerance):
    """Every array to a share of its largest entry; gradients of 0 have none."""
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[0]))
    for (path, b), a in zip(
        jax.tree_util.tree_leaves_with_path(expected),
        jax.tree.leaves(found),
        strict=True,
    ):
        name = jax.tree_util.keystr(path)
        scale = max(np.abs(b).max(), 1e-2 * largest)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("outputs", [True, False])
def test_outputs_gradients_and_statistics_are_those_of_flax_in_float64(outputs, train):
    found = run(Together(outputs), train)
    with jax.enable_x64(True):
        expected = run(OneByOne(outputs), train, jnp.float64)
    assert_equal(found, expected, 1e-5)


def test_dropout_draws_the_numbers_of_flax():
    found, expected = (run(module(True, 0.3), True) for module in (Together, OneByOne))
    assert_equal(found, expected, 2e-5)


def test_a_bias_before_a_normalisation_only_moves_its_running_mean():
    gradients, (_, changed) = run(Together(), True)
    tree = variables(Together())
    bias = np.full(8, 0.5, np.float32)
    tree["params"]["first"]["block1"]["dense"]["bias"] += bias
    _, moved = Together().apply(tree, *inputs(), train=True, mutable=["batch_stats"])
    means = [
        each["batch_stats"]["first"]["block1"]["norm"] for each in (changed, moved)
    ]
    assert not np.any(gradients[0]["first"]["block1"]["dense"]["bias"])
    np.testing.assert_allclose(means[1]["mean"] - means[0]["mean"], 0.01 * bias, 1e-4)
    np.testing.assert_allclose(means[1]["var"], means[0]["var"], 1e-6)


@pytest.mark.usefixtures("platform")
def test_members_of_a_population_compute_what_each_does_alone():
    module, xy = Together(), inputs()
    members = [jax.jit(module.init)(jax.random.key(seed), *xy) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)

    def train(tree):
        return module.apply(tree, *xy, train=True, mutable=["batch_stats"])

    together = jax.jit(jax.vmap(train))(stacked)
    alone = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *map(jax.jit(train), members)
    )
    for a, b in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def products(kernels):
    """Matrix products for kernels of these shapes on a GPU."""
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in kernels]
    xs = [jax.ShapeDtypeStruct((2, depth), jnp.float32) for depth, _ in kernels]
    return str(jax.make_jaxpr(dense_networks._in_blocks)(xs, arrays)).count("dot_gen")


def test_a_block_diagonal_matrix_has_a_limit_of_zeros():
    assert products([(256, 128)] * 3 + [(64, 32)]) == 1
    assert products([(512, 768), (512, 64)] * 2) == 2
    assert products([(2048, 2048), (8, 4), (8, 4)]) == 1
    assert products([(2048, 2048), (2048, 2048), (8, 4)]) == 2


class OfParts(nn.Module):
    """A network whose input comes in two parts."""

    @nn.compact
    def __call__(self, x, y):
        networks = [DenseNetwork(2 * DEPTH, (8,), 3, name="only")]
        return side_by_side(networks, [(x, y)], train=True, dtype=x.dtype)[0]


def gradients_of_parts(module, y, xy):
    """Of the parameters and of the first part, with the other given."""
    tree = jax.jit(module.init)(jax.random.key(0), *xy)

    def loss(params, x):
        variables = {**tree, "params": params}
        return jnp.sum(module.apply(variables, x, y, mutable=["batch_stats"])[0] ** 2)

    return jax.jit(jax.grad(loss, argnums=(0, 1))), (tree["params"], xy[0])


def test_parts_of_an_input_are_concatenated():
    class Concatenated(nn.Module):
        @nn.compact
        def __call__(self, x, y):
            network = FlaxNetwork((8,), 3, 0.0, name="only")
            return network(jnp.concatenate([x, y], axis=-1), True)

    xy = inputs()
    step, arguments = gradients_of_parts(OfParts(), xy[1], xy)
    found = step(*arguments)
    with jax.enable_x64(True):
        xy = jax.tree.map(lambda a: a.astype(jnp.float64), xy)
        step, _ = gradients_of_parts(Concatenated(), xy[1], xy)
        wide = jax.tree.map(lambda a: a.astype(jnp.float64), arguments)
        expected = step(*wide)
    assert_equal(found, expected, 1e-5)


def test_parts_come_out_joined_of_a_network_without_layers():
    module = DenseNetwork(2 * DEPTH, ()).bind({})
    xy = tuple(inputs())
    (found,) = side_by_side([module], [xy], train=True, dtype=jnp.float32)
    np.testing.assert_array_equal(found, jnp.concatenate(xy, axis=-1))


def test_no_product_is_made_for_the_gradient_of_a_part_that_is_given():
    x, y = inputs()
    kernel = jnp.ones((2 * DEPTH, 64))

    def loss(x, kernel):
        return jnp.sum(dense_networks._multiply([(x, y)], [kernel]) ** 2)

    step = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, kernel).compile()
    forward, of_kernel, of_x = 2 * DEPTH, 2 * DEPTH, DEPTH
    needed = 2 * ROWS * 64 * (forward + of_kernel + of_x)
    assert step.cost_analysis()["flops"] == pytest.approx(needed, rel=0.05)
