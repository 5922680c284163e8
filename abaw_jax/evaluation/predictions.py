"""Scores, outputs and their uncertainty on the validation sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from scipy.special import entr, expit, softmax

from abaw_jax.evaluation.validation import (
    Validator,
    columns,
    labels_of,
    measure_columns,
)
from abaw_jax.metrics import score_columns
from abaw_jax.pipeline.windows import Samples
from abaw_jax.store.reader import Store
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, TASKS
from abaw_jax.training.distillation import mean_outputs
from abaw_jax.training.state import Variables

Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """K networks of one role on all validation sets.

    Attributes:
      scores: of what they say together.
      members: of each.
      outputs: by set and task, ``[K, N, C]``.
      together: by set and task, ``[N, C]``, as one network would put it.
      unit_f1: by set, F1 of each action unit, ``[12]``.
    """

    scores: dict[str, float]
    members: list[dict[str, float]]
    outputs: dict[str, Outputs]
    together: dict[str, Outputs]
    unit_f1: dict[str, np.ndarray]


def measure(validate: Validator, variables: Variables) -> Measured:
    """Predicts every validation set with every network, once.

    Args:
      validate: has the sets.
      variables: ``[K, ...]`` per leaf.
    """
    seen = {name: validate.predictions(variables, name) for name in validate.chunks}
    members = validate.scores({name: states for name, (states, _) in seen.items()})
    outputs = {
        name: {task: each[task] for task in TASKS} for name, (_, each) in seen.items()
    }
    together = _together(outputs)
    labels = {name: labels_of(validate.samples[name]) for name in together}
    measures = jax.device_get(measure_columns(together, labels))
    found = {
        name: score_columns(*(each[task] for task in TASKS))
        for name, each in measures.items()
    }
    return Measured(
        # One network's own scores know its discriminator too.
        scores=members[0] if len(members) == 1 else columns(found, validate.samples),
        members=members,
        outputs=outputs,
        together=jax.device_get(together),
        unit_f1={name: each["au"] for name, each in measures.items()},
    )


@jax.jit
def _together(
    outputs: Mapping[str, Mapping[str, jax.Array]],
) -> dict[str, dict[str, jax.Array]]:
    """By set, what K networks say together; one program for all sets."""
    return {name: mean_outputs(each) for name, each in outputs.items()}


def write_predictions(
    path: Path, store: Store, samples: Samples, outputs: Mapping[str, np.ndarray]
) -> None:
    """Writes what K networks predict for every frame, and how sure they are.

    A NumPy archive: ``subject`` names and ``frame`` numbers ``[N]``; ``va`` ``[N, 2]``,
    ``expr`` ``[N, 8]`` and ``au`` ``[N, 12]``, means of values and of probabilities;
    ``va_spread`` and ``au_spread``, standard deviations over the networks; in nats the
    entropies ``expr_entropy`` ``[N]`` and ``au_entropy`` ``[N, 12]`` of the means, and
    ``expr_disagreement`` ``[N]``, the part of the former that more data would remove:
    entropy of the mean less mean entropy (0 for one network). ``va_columns``,
    ``expr_columns`` and ``au_columns`` name the columns; ``va_label`` and ``va_where``
    and so on are the labels and where there are any.

    Args:
      path: of the archive; its folder is made.
      store: that the samples are from.
      samples: of one set.
      outputs: by task, ``[K, N, C]``.
    """
    expr, au = softmax(outputs["expr"], axis=-1), expit(outputs["au"])
    entropy = entr(expr.mean(0)).sum(-1)
    on = au.mean(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array([subject.name for subject in store.subjects])
    np.savez_compressed(
        path,
        subject=names[samples.subject],
        frame=frame_numbers(store, samples),
        va=outputs["va"].mean(0),
        va_spread=outputs["va"].std(0),
        expr=expr.mean(0),
        expr_entropy=entropy,
        expr_disagreement=np.maximum(entropy - entr(expr).sum(-1).mean(0), 0),
        au=on,
        au_spread=au.std(0),
        au_entropy=entr(on) + entr(1 - on),
        va_columns=np.array(AFFECT),
        expr_columns=np.array(EXPRESSIONS),
        au_columns=np.array(ACTION_UNITS),
        **{f"{task}_label": getattr(samples, task) for task in TASKS},
        **{f"{task}_where": getattr(samples, f"{task}_where") for task in TASKS},
    )


def frame_numbers(store: Store, samples: Samples) -> np.ndarray:
    """Number of each labelled frame in its video, ``[N]``, from 1."""
    numbers = np.empty(len(samples), np.int32)
    for index in np.unique(samples.subject):
        here = samples.subject == index
        rows = samples.image_rows[here, -1] - store.subjects[index].first_row
        numbers[here] = store.numbers(index)[rows]
    return numbers
