"""Predicts the frames of test lists and templates with a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from abaw_jax.evaluation.predictions import frame_numbers, measure
from abaw_jax.experiment import corpus, rows, training_setup, validators
from abaw_jax.experiment.run import Run
from abaw_jax.inference.model_card import untrained
from abaw_jax.inference.model_folder import read_model
from abaw_jax.inference.scoring import configure
from abaw_jax.inference.submission import Frame, Track, asked_sets, fill_track
from abaw_jax.path_faults import require_writable
from abaw_jax.pipeline.windows import Samples, evaluation_samples
from abaw_jax.releases.names import normal_name
from abaw_jax.report import console
from abaw_jax.store.reader import Store
from abaw_jax.tasks import SETS
from abaw_jax.training.sharding import over_all_devices, put_on_devices


def predict_lists(
    model: Path,
    base: ConfigDict,
    out: Path,
    templates: Mapping[str, Sequence[Frame]],
    edition: int,
) -> dict[str, Track]:
    """Values of every row of the lists that an edition asks for.

    Args:
      model: the folder.
      base: all fields of a configuration; ``base.data`` names the data.
      out: folder for features, which a second call finds again.
      templates: rows by set; for the other sets the lists of the store.
      edition: of the challenge.

    Raises:
      ValueError: if there is no list, or no frame of one has an image.
      OSError: if nothing can be written to the folder.
    """
    contract, networks = read_model(model)
    config = configure(contract, base, model)
    require_writable(out)
    if remark := untrained(contract):
        console.warn(remark)
    store = corpus.build(config, out)
    lists = _asked_lists(store, templates, edition)
    run = Run(config, out, out, store, over_all_devices())
    # Before minutes of computing features.
    samples = {name: _samples(run, name, frames) for name, frames in lists.items()}
    setup = training_setup.choose(run)
    tests = validators.scorer(run, setup, samples)
    heads = put_on_devices(networks["heads"], run.shardings.members)
    outputs = measure(tests, heads).outputs
    tracks = {}
    for name, frames in lists.items():
        subjects = [store.subjects[k].name for k in samples[name].subject]
        numbers = frame_numbers(store, samples[name]).tolist()
        predicted = [*zip(subjects, numbers, strict=True)]
        tracks[name] = fill_track(frames, predicted, outputs[name])
    return tracks


def _asked_lists(
    store: Store, templates: Mapping[str, Sequence[Frame]], edition: int
) -> dict[str, Sequence[Frame]]:
    lists = {name: _listed(store, name) for name in SETS} | dict(templates)
    lists = {name: frames for name, frames in lists.items() if frames}
    if not lists:
        raise ValueError(f"store {store.path} has no test list: name --template=FILE.")
    return {name: lists[name] for name in asked_sets(edition, lists)}


def _samples(run: Run, name: str, frames: Sequence[Frame]) -> Samples:
    """The frames of a list that have an image."""
    index = {subject.name: k for k, subject in enumerate(run.store.subjects)}
    listed = [(normal_name(subject), number) for subject, number in frames]
    known = sorted({(index[s], n) for s, n in listed if s in index})
    subject, frame = np.array(known, np.int32).reshape(-1, 2).T
    labels = rows.without_labels(subject, frame)
    samples = evaluation_samples(run.store, labels, run.windows)
    if not len(samples):
        first = "{}/{:05d}.jpg".format(*frames[0])
        raise ValueError(
            f"no frame of the test list of {name} has an image in store "
            f"{run.store.path}, as {first}: name the store of these videos."
        )
    return samples


def _listed(store: Store, name: str) -> list[Frame]:
    subject, frame = store.test_frames(name)
    names = [each.name for each in store.subjects]
    return [
        (names[s], n) for s, n in zip(subject.tolist(), frame.tolist(), strict=True)
    ]
