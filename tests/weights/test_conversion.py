"""Every layout of other people maps to our variables, array by array."""

import numpy as np
import pytest

from abaw_jax.weights import conversion
from tests.support import foreign_weights
from tests.support.foreign_weights import (
    IMAGE,
    as_sound8,
    as_tensorflow,
    as_torch,
    assert_same,
)


@pytest.fixture(scope="module")
def sound_weights():
    return foreign_weights.sound_weights()


@pytest.fixture(scope="module")
def image_weights():
    return foreign_weights.image_weights()


def test_names_are_paths_and_back(image_weights):
    arrays = conversion.flatten(image_weights)
    assert "params/stem_conv/kernel" in arrays
    assert "batch_stats/stage1_block1/norm1/mean" in arrays
    assert_same(conversion.unflatten(arrays), image_weights)


def test_sound8_is_mapped(sound_weights):
    assert_same(
        conversion.soundnet_from_sound8(as_sound8(sound_weights)), sound_weights
    )


@pytest.mark.parametrize("port", ["nested", "flat"])
def test_torch_ports_are_mapped(sound_weights, port):
    actual = conversion.soundnet_from_torch(as_torch(sound_weights, port))
    assert_same(actual, sound_weights)


def test_a_port_without_statistics_is_refused(sound_weights):
    state = as_torch(sound_weights, "flat")
    for k in range(1, 8):
        name = f"batchnorm{k}.running_var"
        state[name] = np.ones_like(state[name])
    with pytest.raises(ValueError, match="statistics were never filled in"):
        conversion.soundnet_from_torch(state)
    del state["batchnorm3.running_mean"]
    with pytest.raises(ValueError, match=r"lack 'batchnorm3\.running_mean'"):
        conversion.soundnet_from_torch(state)


def test_tensorflow_names_are_mapped(image_weights):
    arrays = as_tensorflow(image_weights)
    assert arrays[
        "residual_blocks/layer_with_weights-1/conv_2/conv_list/3/kernel"
        "/.ATTRIBUTES/VARIABLE_VALUE"
    ].shape == (3, 3, 4, 4)
    actual = conversion.image_encoder_from_tensorflow(
        arrays, stage_sizes=IMAGE.stage_sizes, cardinality=IMAGE.cardinality
    )
    assert_same(actual, image_weights)


def test_a_name_that_is_missing_is_reported(image_weights):
    arrays = as_tensorflow(image_weights)
    del arrays[
        "residual_blocks/layer_with_weights-2/SA/conv/bias/.ATTRIBUTES/VARIABLE_VALUE"
    ]
    with pytest.raises(ValueError, match=r"lack 'residual_blocks/.*2/SA/conv/bias'"):
        conversion.image_encoder_from_tensorflow(
            arrays, stage_sizes=IMAGE.stage_sizes, cardinality=IMAGE.cardinality
        )
