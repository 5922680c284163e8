"""Linear models on the features of a window: a level that a network has to exceed.

Ridge regression for valence and arousal, logistic regression for expressions and action
units (scikit-learn). The strength of their regularisation is chosen on training people
who are held out for that, never on validation frames.
"""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from abaw_jax.evaluation.validation import columns, labels_of, measure_columns
from abaw_jax.metrics import score_columns
from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, SETS, TASKS

Features = Callable[[Samples], np.ndarray]
"""Features of each sample's window, float32 ``[N, D]``."""

Predict = Callable[[np.ndarray], np.ndarray]

_ROWS = 4096  # of a task in one set that train, evenly spaced
_BLOCK = 4096  # rows whose windows are in memory together
_STRENGTHS = (1e1, 1e2, 1e3, 1e4)
_HELD_OUT = 4  # one in so many training people


def linear_probe(
    train: Mapping[str, Samples], validation: Mapping[str, Samples], features: Features
) -> dict[str, float]:
    """Scores of linear models by the official measures.

    Args:
      train: training samples by set; a task's rows are pooled over the sets.
      validation: samples to score, by set.
      features: of a window.

    Returns:
      The keys of `challenge_scores` that the validation sets have.
    """
    models = {
        "va": _valence_arousal(*_pool("va", train, features)),
        "expr": _expressions(*_pool("expr", train, features)),
        "au": _action_units(*_pool("au", train, features)),
    }
    outputs = {
        name: _predict(models, samples, features)
        for name, samples in validation.items()
    }
    labels = {name: labels_of(samples) for name, samples in validation.items()}
    measures = jax.device_get(measure_columns(outputs, labels))
    found = {
        name: score_columns(*(each[task] for task in TASKS))
        for name, each in measures.items()
    }
    return columns(found, validation)


def _predict(
    models: Mapping[str, Predict], samples: Samples, features: Features
) -> dict[str, np.ndarray]:
    """Outputs by task, float32 ``[N, C]``."""
    parts: dict[str, list[np.ndarray]] = {task: [] for task in models}
    for start in range(0, len(samples), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(samples)))
        x = features(samples.take(rows))
        for task, model in models.items():
            parts[task].append(model(x))
    return {
        task: np.concatenate(each).astype(np.float32) for task, each in parts.items()
    }


def _pool(
    task: str, train: Mapping[str, Samples], features: Features
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, fully labelled rows and people of a task over all sets."""
    parts = []
    for name in SETS:
        if name in train:
            where = getattr(train[name], f"{task}_where")
            rows = np.flatnonzero(where if where.ndim == 1 else where.all(axis=1))
            evenly = np.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).astype(int)
            parts.append(train[name].take(rows[evenly]))
    x = np.concatenate([features(part) for part in parts])
    y = np.concatenate([getattr(part, task) for part in parts])
    return x, y, np.concatenate([part.subject for part in parts])


def _valence_arousal(x: np.ndarray, y: np.ndarray, person: np.ndarray) -> Predict:
    if not len(x):
        return lambda x: np.zeros((len(x), y.shape[1]), np.float32)
    model = _choose(lambda strength: Ridge(strength), x, y, person)
    return lambda x: model.predict(x).clip(-1, 1)


def _expressions(x: np.ndarray, y: np.ndarray, person: np.ndarray) -> Predict:
    """Logits of all expressions; of one without a training row they are -inf."""
    if len(np.unique(y)) < 2:
        guess = np.eye(len(EXPRESSIONS))[y[0] if len(y) else 0]
        return lambda x: np.tile(guess, (len(x), 1))
    model = _choose(_multinomial, x, y, person)

    def predict(x: np.ndarray) -> np.ndarray:
        logits = np.full((len(x), len(EXPRESSIONS)), -np.inf)
        logits[:, model.classes_] = model.predict_log_proba(x)
        return logits

    return predict


def _action_units(x: np.ndarray, y: np.ndarray, person: np.ndarray) -> Predict:
    def unit(on: np.ndarray) -> Predict:
        if len(np.unique(on)) < 2:
            return lambda x: np.full(len(x), 1.0 if on.any() else -1.0)
        return _choose(_binary, x, on, person).decision_function

    models = [unit(y[:, index] > 0) for index in range(len(ACTION_UNITS))]
    return lambda x: np.stack([model(x) for model in models], axis=1)


# Rare labels weigh as much as frequent ones, as macro F1 counts them.


def _multinomial(strength: float) -> LogisticRegression:
    return LogisticRegression(C=1 / strength, class_weight="balanced", tol=1e-3)


def _binary(strength: float) -> LogisticRegression:
    # lbfgs takes several times as long; of eight classes this Hessian would be 2 GB.
    return LogisticRegression(
        C=1 / strength, class_weight="balanced", solver="newton-cholesky"
    )


def _choose(
    make: Callable[[float], Ridge | LogisticRegression],
    x: np.ndarray,
    y: np.ndarray,
    person: np.ndarray,
) -> Pipeline:
    """The model whose regularisation scores best on held-out people, fitted to all."""
    people = np.unique(person)
    held_out = np.isin(person, people[::_HELD_OUT])

    def fit(strength: float, rows: np.ndarray) -> Pipeline:
        return make_pipeline(StandardScaler(), make(strength)).fit(x[rows], y[rows])

    def score(strength: float) -> float:
        model = fit(strength, ~held_out)
        if isinstance(model[-1], Ridge):
            return model.score(x[held_out], y[held_out])
        predicted = model.predict(x[held_out])
        return float(f1_score(y[held_out], predicted, average="macro"))

    every = np.ones(len(x), bool)
    if len(people) < 2 or len(np.unique(y[~held_out], axis=0)) < 2:
        return fit(_STRENGTHS[len(_STRENGTHS) // 2], every)
    return fit(max(_STRENGTHS, key=score), every)
