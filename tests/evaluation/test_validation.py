"""Scores on validation sets: one program, however often and on however many sets."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from abaw_jax.evaluation.validation import Validator, columns, home_set, stream
from abaw_jax.experiment import validators
from abaw_jax.pipeline.items import feature_items, gather_features
from abaw_jax.training.steps import make_predict_chunk
from tests.support import tiny


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 4])
def test_validation_is_traced_once(members):
    traces = []

    def make_batch(table, item):
        traces.append(None)
        return gather_features(table, item)

    samples = tiny.make_samples()
    predict = make_predict_chunk(
        tiny.MODEL, make_batch=make_batch, inputs=tiny.inputs, shardings=tiny.SHARDINGS
    )
    chunks = stream(
        samples,
        feature_items(np.arange(tiny.ROWS, dtype=np.int32)),
        tiny.SHARDINGS,
        batch_size=16,
        batches_per_chunk=2,
    )
    validate = Validator(predict, tiny.make_table(), samples, chunks, tiny.SHARDINGS)
    first = validate(tiny.make_variables(*range(members)))
    again = validate(tiny.make_variables(*range(members)))
    assert len(traces) == 1
    assert len(first) == members and first == again


def test_a_task_without_labels_has_no_score_nor_is_there_a_sum():
    joint = tiny.make_samples()["mtl"]
    keys = ("va", "valence", "arousal", "expr", "au", "mtl")
    scores = {"mtl": dict.fromkeys(keys, 0.5), "expr": dict.fromkeys(keys, 0.25)}
    assert columns(scores, {"mtl": joint}) == scores["mtl"]

    samples = {"mtl": replace(joint, au_where=np.zeros_like(joint.au_where))}
    affect = {"va": 0.5, "valence": 0.5, "arousal": 0.5}
    assert columns(scores, samples) == affect | {"expr": 0.5}
    assert home_set("au", samples) is None
    samples["expr"] = tiny.make_samples()["expr"]
    assert columns(scores, samples) == affect | {"expr": 0.25}


def test_a_store_without_validation_is_reported(monkeypatch):
    monkeypatch.setattr(validators, "validation_samples", lambda *_: {})
    run = SimpleNamespace(store=SimpleNamespace(path="STORE"), windows=None)
    with pytest.raises(ValueError, match="STORE holds no labelled validation frame"):
        validators.validator(run, None)
