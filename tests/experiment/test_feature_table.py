"""The feature table: its places, its type, and that it is the only copy."""

import tracemalloc
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abaw_jax.experiment import features
from abaw_jax.experiment.feature_table import StreamRows
from abaw_jax.training.sharding import over_all_devices, put_on_devices
from configs import base


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_rows_of_subjects_in_any_order(dtype):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 5)).astype(np.float32) for n in (3, 0, 4)]
    rows = StreamRows([3, 0, 4], dtype, lanes=8)
    for subject in (2, 0, 1):
        rows.put(subject, parts[subject])
    assert rows.width == 5 and rows.values.dtype == dtype
    expected = np.concatenate(parts).astype(dtype)
    np.testing.assert_array_equal(rows.values[:, :5], expected)
    assert not rows.values[:, 5:].any() and not rows.lost.any()


def test_what_could_not_be_read_is_zero_and_known():
    rows = StreamRows([2, 2], np.float32, lanes=1)
    rows.put(0, np.ones((2, 3)))
    rows.put(1, np.array([[1, np.nan, 1], [2, 2, 2]]))
    np.testing.assert_array_equal(rows.lost, [False, False, True, False])
    np.testing.assert_array_equal(rows.values[2:], [[0, 0, 0], [2, 2, 2]])


def test_a_cpu_uses_the_memory_of_the_host():
    rows = StreamRows([1000], np.float32, lanes=1)
    rows.put(0, np.ones((1000, 100)))
    placed = put_on_devices(rows.values, over_all_devices().replicated)
    if len(jax.devices()) == 1 and jax.default_backend() == "cpu":
        assert placed.unsafe_buffer_pointer() == rows.values.ctypes.data
    np.testing.assert_array_equal(placed, rows.values)


def test_the_table_is_the_only_copy_in_memory(tmp_path, monkeypatch):
    """30 subjects' features of an encoder and of the user: 1.3 times the table."""
    names = [f"s{k}" for k in range(30)]
    values = np.random.default_rng(0).normal(size=(400, 200)).astype(np.float32)
    for name in names:
        np.save(tmp_path / f"{name}.npy", values)
    config = base.get_config()
    config.features.image = str(tmp_path)
    config.features.sound = str(tmp_path)
    config.dtype = "bfloat16"
    store = SimpleNamespace(
        subjects=[SimpleNamespace(name=name, num_images=400, fps=30) for name in names],
        numbers=lambda index: np.arange(1, 401),
        sound_length=lambda index: 0,
        sample_rate=1000,
    )
    tracemalloc.start()
    table = features.extract(SimpleNamespace(store=store, config=config), None, None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    size = table.image.nbytes + table.sound.nbytes
    assert size == 2 * 30 * 400 * 200 * 2
    assert peak < 1.3 * size
    np.testing.assert_array_equal(table.image[400:800], values.astype(jnp.bfloat16))
    np.testing.assert_array_equal(table.sound[table.sound_rows], table.image)
