"""Rows of a batch are named as videos and frames of the release."""

import re

import numpy as np
import pytest

from abaw_jax.experiment.rows import name_rows
from abaw_jax.pipeline.windows import Windows, training_samples
from abaw_jax.store.reader import open_store
from abaw_jax.store.writer import prepare
from tests.support.tiny_release import SIZE, write_release


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    prepare(write_release(folder / "release"), folder / "store", image_size=SIZE)
    return open_store(folder / "store")


def make_samples(store):
    labels, windows = store.labels("va", "train"), Windows(images=2, stride=1)
    return {"va": training_samples(store, labels, windows, with_sound=False)}


def test_rows_are_named_by_video_and_frame(store):
    """Each by a frame whose labels are those of the row."""
    labels, samples = store.labels("va", "train"), make_samples(store)
    subjects = [subject.name for subject in store.subjects]
    values = samples["va"].va
    assert len(np.unique(values, axis=0)) == len(values) > 2
    for row, value in enumerate(values):
        named = name_rows(store, samples, "va", np.array([row]))
        name, frame = re.fullmatch(r"(\w+) frame (\d+)", named).groups()
        of_subject = labels.subject == subjects.index(name)
        (found,) = labels.va[of_subject & (labels.frame == int(frame))]
        np.testing.assert_array_equal(found, value)


def test_of_many_rows_some_are_named(store):
    named = name_rows(store, make_samples(store), "va", np.zeros(10, np.int64))
    assert named.count(" frame ") == 8 and named.endswith(" and 2 more rows")
