"""A store and networks made before the modules were moved are still read.

``tests/fixtures/before_0_2.tar.xz`` was written by commit 39cb6ea, the last with the
former modules: the store of `tests.support.tiny_release`, and a run of
`tests.support.tiny`, once finished and once interrupted after four of eight rounds.
"""

import tarfile
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from abaw_jax.store.reader import check, open_store
from abaw_jax.tasks import SETS
from abaw_jax.training.loop import fit
from abaw_jax.training.networks import load_fitted
from abaw_jax.training.state import take_member
from tests.support import tiny

ARCHIVE = Path(__file__).parents[1] / "fixtures" / "before_0_2.tar.xz"


@pytest.fixture
def former(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_a_store_is_read(former):
    check(former / "store")
    store = open_store(former / "store")
    assert (len(store.subjects), store.num_images, store.image_size) == (4, 47, 8)
    sizes = [len(store.labels(name, "train")) for name in SETS]
    assert sizes == [11, 11, 11, 3]
    crops = np.concatenate([store.frames(k)[:] for k in range(4)])
    assert crops.shape == (47, 8, 8, 3) and crops.any()


def test_networks_are_read(former):
    variables = load(former / "finished")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


@pytest.mark.slow
def test_an_interrupted_run_continues(former):
    """To the networks of the finished one; another JAX rounds differently."""
    adam = optax.adam(3e-3)
    step = tiny.make_step(optimizer=adam, model=tiny.MODEL.clone(image_dropout=0.0))
    sizes = {"va": 96, "expr": 64, "au": 96, "mtl": 32}
    chunks, schedule = tiny.make_chunks(2, **sizes), tiny.make_schedule(**sizes)
    state = tiny.make_state(optimizer=adam)
    job = tiny.make_job(epochs=2, step=step, chunks=chunks, schedule=schedule)
    fit(state, job, former / "interrupted", ignore)
    ours, theirs = load(former / "interrupted"), load(former / "finished")
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def ignore(*_):
    pass


def load(folder):
    like = take_member(tiny.make_variables(), 0)
    return load_fitted(folder, like, 1, tiny.SHARDINGS)
