"""A model folder of small random networks, shared by the tests that read one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from abaw_jax.experiment import model_factory
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from abaw_jax.training.state import init_variables, stack_members
from configs import quickstart

MEMBERS, SIDE, SAMPLES = 2, 16, 220_500


def make_config(streams=("image", "sound")):
    config = quickstart.get_config()
    config.streams = streams
    config.image_encoder.size = 16
    config.image_encoder.stage_sizes, config.image_encoder.widths = (1,), (8,)
    config.image_encoder.cardinality = 4
    config.sound_encoder.widths, config.sound_encoder.objects = (2,) * 7, 5
    config.heads.lstm_size = 8
    config.heads.extractor_sizes = config.heads.head_sizes = (8,)
    return config


def make_networks(config, seed=0):
    image, sound = jnp.ones((1, 16, 16, 3)), jnp.ones((1, SAMPLES))
    rng, heads = np.random.default_rng(seed), model_factory.heads(config)
    networks = {
        "image_encoder": draw(model_factory.image_encoder(config), rng, image),
        "sound_encoder": draw(model_factory.sound_encoder(config), rng, sound),
    }
    shapes = model_factory.feature_shapes(config)
    kept = {
        f"{stream}_encoder": networks[f"{stream}_encoder"] for stream in config.streams
    }
    members = [draw(heads, rng, *shapes) for _ in range(MEMBERS)]
    return {**kept, "heads": stack_members(members)}


def draw(module, rng, *examples):
    """Weights and statistics as of a trained network, where few are 0 or 1."""

    def of_leaf(path, leaf):
        values = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "var":
            return np.exp(values / 2)
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 4
        return values / np.sqrt(np.float32(fan_in))

    like = jax.eval_shape(partial(init_variables, module), jax.random.key(0), *examples)
    return jax.tree_util.tree_map_with_path(of_leaf, like)


def make_contract(config):
    inputs = {
        "frames": {
            "shape": ["B", 6, SIDE, SIDE, 3],
            "dtype": "uint8",
            "stride": 10.0,
            "unit": "frames",
            "size": config.image_encoder.size,
        },
        "waveform": {
            "shape": ["B", SAMPLES],
            "dtype": "int16",
            "rate": 22_050,
            "seconds": 10.0,
            "pad": "zero",
        },
    }
    named = {"image": "frames", "sound": "waveform"}
    return {
        "name": "model",
        "role": "student",
        "made_by": {"abaw_jax": "0.1.0"},
        "inputs": {named[stream]: inputs[named[stream]] for stream in config.streams},
        "outputs": {
            "expressions": list(EXPRESSIONS),
            "action_units": list(ACTION_UNITS),
        },
        "data": {"name": "people"},
        "scores": {"valence": 0.5, "mtl": 1.25},
        "intervals": {"valence": [0.5, 0.25, 0.75], "mtl": [1.25, None, None]},
        "config": config.to_dict(),
    }
