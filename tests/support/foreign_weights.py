"""Small networks, their random weights, and the same as other people write them."""

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.models.image_encoder import ImageEncoder
from abaw_jax.models.soundnet import MINIMUM_SAMPLES, SoundNet
from abaw_jax.weights import conversion
from tests.support import networks64

SOUND = SoundNet(widths=(2, 3, 4, 4, 5, 6, 8), objects=7, scenes=5)
IMAGE = ImageEncoder(stage_sizes=(1, 2), widths=(8, 16), cardinality=4)


def random_weights(module, shape):
    example = jax.ShapeDtypeStruct(shape, jnp.float32)
    return networks64.random_variables(
        jax.eval_shape(module.init, jax.random.key(0), example)
    )


def sound_weights():
    return random_weights(SOUND, (1, MINIMUM_SAMPLES))


def image_weights():
    return random_weights(IMAGE, (1, 32, 32, 3))


def assert_same(actual, expected):
    actual, expected = conversion.flatten(actual), conversion.flatten(expected)
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert actual[name].dtype == np.float32
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def as_sound8(variables):
    """Our variables in the layout of ``sound8.npy``."""
    params, statistics = variables["params"], variables["batch_stats"]
    names = {f"conv{k}": f"conv{k}" for k in range(1, 8)}
    layers = {}
    for ours, theirs in {**names, "objects": "conv8", "scenes": "conv8_2"}.items():
        kernel = params[ours]["kernel"]
        layers[theirs] = {
            "weights": np.asfortranarray(kernel[:, None]),
            "biases": params[ours]["bias"],
        }
    for k in range(1, 8):
        layers[f"conv{k}"] |= {
            "gamma": params[f"norm{k}"]["scale"],
            "beta": params[f"norm{k}"]["bias"],
            "mean": statistics[f"norm{k}"]["mean"],
            "var": statistics[f"norm{k}"]["var"],
        }
    return layers


def as_torch(variables, port):
    """Our variables as the state dict of one of the two PyTorch ports."""
    conv, norm, objects, scenes = {
        "nested": ("conv{}.0", "conv{}.1", "conv8.0", "conv8_2.0"),
        "flat": ("conv{}", "batchnorm{}", "conv8_objs", "conv8_scns"),
    }[port]
    params, statistics = variables["params"], variables["batch_stats"]
    state = {}
    names = {f"conv{k}": conv.format(k) for k in range(1, 8)}
    for ours, theirs in {**names, "objects": objects, "scenes": scenes}.items():
        kernel = params[ours]["kernel"]
        state[f"{theirs}.weight"] = kernel.transpose(2, 1, 0)[..., None]
        state[f"{theirs}.bias"] = params[ours]["bias"]
    for k in range(1, 8):
        theirs = norm.format(k)
        state[f"{theirs}.weight"] = params[f"norm{k}"]["scale"]
        state[f"{theirs}.bias"] = params[f"norm{k}"]["bias"]
        state[f"{theirs}.running_mean"] = statistics[f"norm{k}"]["mean"]
        state[f"{theirs}.running_var"] = statistics[f"norm{k}"]["var"]
        state[f"{theirs}.num_batches_tracked"] = np.asarray(100.0)
    return state


def as_tensorflow(variables):
    """``IMAGE``'s variables by the names of the TensorFlow checkpoint, groups apart."""
    blocks = ("stage1_block1", "stage2_block1", "stage2_block2")
    params, statistics = variables["params"], variables["batch_stats"]
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    arrays = {
        f"FC/kernel{suffix}": np.zeros((16, 2), np.float32),
        f"save_counter{suffix}": np.asarray(1),
    }

    def affine(theirs, layer):
        for part, array in layer.items():
            arrays[f"{theirs}/{part}{suffix}"] = array

    def norm(theirs, layer, running):
        arrays[f"{theirs}/gamma{suffix}"] = layer["scale"]
        arrays[f"{theirs}/beta{suffix}"] = layer["bias"]
        arrays[f"{theirs}/moving_mean{suffix}"] = running["mean"]
        arrays[f"{theirs}/moving_variance{suffix}"] = running["var"]

    affine("conv_1", params["stem_conv"])
    norm("bn_1", params["stem_norm"], statistics["stem_norm"])
    for index, block in enumerate(blocks):
        at, layer, running = (
            f"residual_blocks/layer_with_weights-{index}",
            params[block],
            statistics[block],
        )
        affine(f"{at}/conv_1", layer["conv1"])
        norm(f"{at}/bn_1", layer["norm1"], running["norm1"])
        norm(f"{at}/bn_2", layer["norm2"], running["norm2"])
        for part, array in layer["conv2"].items():
            for g, piece in enumerate(np.split(array, IMAGE.cardinality, -1)):
                arrays[f"{at}/conv_2/conv_list/{g}/{part}{suffix}"] = piece
        affine(f"{at}/CA/FC1", layer["channel_attention"]["reduce"])
        affine(f"{at}/CA/FC2", layer["channel_attention"]["expand"])
        affine(f"{at}/SA/conv", layer["spatial_attention"])
        if "shortcut_conv" in layer:
            affine(f"{at}/conv_shortcut", layer["shortcut_conv"])
            norm(f"{at}/bn_shortcut", layer["shortcut_norm"], running["shortcut_norm"])
    return arrays
