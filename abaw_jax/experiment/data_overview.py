"""Counts what the labels give a run, set by set, and warns of what they lack."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from abaw_jax.experiment import rows
from abaw_jax.experiment.advice import as_switches, changes_that_help
from abaw_jax.experiment.run import Run
from abaw_jax.pipeline.windows import Samples
from abaw_jax.report.overview_tables import SplitCounts
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, SETS, SPLITS

# A concordance over fewer rows is mostly noise (facts of the authors' own batches).
_FEW_ROWS = 16

_OF_ONE_PERSON = {
    "train": "what is learnt may hold for that person alone",
    "validation": "scores say nothing about other people",
}


def counts(
    run: Run, training: Mapping[str, Samples], validation: Mapping[str, Samples]
) -> list[SplitCounts]:
    """Videos, people, labelled and used frames of every split that has labels.

    Args:
      run: has the store.
      training: rows that train, by set.
      validation: rows that are scored, by set.
    """
    found = []
    for name in SETS:
        for split, used in zip(SPLITS, (training, validation), strict=True):
            people = _people(run, split, [name])
            if people:
                videos = {run.store.subjects[each].video for each in people}
                labelled = len(run.store.labels(name, split))
                rows_used = len(used[name]) if name in used else 0
                found.append(
                    SplitCounts(
                        name, split, len(videos), len(people), labelled, rows_used
                    )
                )
    return found


def warnings(
    run: Run, training: Mapping[str, Samples], validation: Mapping[str, Samples]
) -> Iterator[str]:
    """What makes training or scores worth less than they look, a sentence each.

    Args:
      run: as in `counts`.
      training: as there.
      validation: as there.
    """
    yield from _of_vanished_sets(run, training)
    yield from _of_unseen_classes(training)
    yield from _of_unscored_sets(training, validation)
    yield from _of_undistilled_rows(run, training)
    yield from _of_people(run)
    yield from _of_small_batches(run, training)


def _of_vanished_sets(run: Run, training: Mapping[str, Samples]) -> Iterator[str]:
    for name, samples in training.items():
        labelled = len(run.store.labels(name, "train"))
        if labelled and not len(samples):
            changes = changes_that_help(run, partial(_trains, name))
            helps = f": add {as_switches(changes)}" if changes else ""
            yield f"{name}: none of {labelled:,} labelled frames trains{helps}."


def _trains(name: str, run: Run) -> bool:
    return bool(len(rows.training_samples(run)[name]))


def _of_unseen_classes(training: Mapping[str, Samples]) -> Iterator[str]:
    """Of a task without any label there is nothing to warn of: it is not trained."""
    samples = [*training.values()]
    shown = np.concatenate([each.expr[each.expr_where] for each in samples])
    where = np.concatenate([each.au_where for each in samples])
    units = np.concatenate([each.au > 0 for each in samples]) & where
    for names, seen, labelled in (
        (EXPRESSIONS, np.isin(np.arange(len(EXPRESSIONS)), shown), len(shown)),
        (ACTION_UNITS, np.logical_or.reduce(units, axis=0), where.any()),
    ):
        unseen = [name for name, one in zip(names, seen, strict=True) if not one]
        if labelled and unseen:
            yield (
                f"no frame that trains shows {', '.join(unseen)}: what no frame shows "
                "cannot be learnt."
            )


def _of_unscored_sets(
    training: Mapping[str, Samples], validation: Mapping[str, Samples]
) -> Iterator[str]:
    """A task is scored on its own set, or else on the multi-task set."""
    for name, samples in training.items():
        if not len(samples) or name in validation:
            continue
        if name == "mtl":
            yield "mtl trains, but has no validation frames: there is no MTL score."
        elif "mtl" not in validation:
            yield f"{name} trains, but there is no validation frame to score it on."


def _of_undistilled_rows(run: Run, training: Mapping[str, Samples]) -> Iterator[str]:
    """A table with labels of several tasks is a multi-task set, even if incomplete."""
    trained = [name for name, samples in training.items() if len(samples)]
    if run.config.until == "student" and trained and not rows.distilled(run, trained):
        yield (
            "only mtl trains, whose frames equation 13 does not distil: the student "
            "learns from labels alone. Add --config.equations.distilled_joint=True."
        )


def _of_people(run: Run) -> Iterator[str]:
    of_split = {split: _people(run, split) for split in SPLITS}
    for split, people in of_split.items():
        if len(people) == 1:
            (name,) = (run.store.subjects[each].name for each in people)
            yield (
                f"{name} is the only person in the {split} part: "
                f"{_OF_ONE_PERSON[split]}."
            )
    videos = [
        {run.store.subjects[each].video for each in people}
        for people in of_split.values()
    ]
    if both := sorted(set.intersection(*videos)):
        videos_shared = f"{len(both):,} video{'s' if len(both) > 1 else ''}"
        yield (
            f"training and validation share {videos_shared} ({', '.join(both[:3])}"
            f"{', …' if len(both) > 3 else ''}): scores flatter. Preparing with "
            "overlap=remove leaves them out of training."
        )


def _of_small_batches(run: Run, training: Mapping[str, Samples]) -> Iterator[str]:
    if not run.trains_networks:
        return
    sizes = rows.schedule(run, training).batch_sizes
    few = [name for name, size in sizes.items() if size < _FEW_ROWS]
    if not few:
        return
    few_rows = f"fewer than {_FEW_ROWS} rows, too few for a steady concordance"
    if small := [name for name in few if sizes[name] == len(training[name])]:
        yield f"{', '.join(small)}: all that trains are {few_rows}."
    if cut := [name for name in few if name not in small]:
        yield (
            f"{', '.join(cut)}: a batch has {few_rows}: raise config.train.batch_size, "
            "or make batches equal with config.train.proportional=False."
        )


def _people(run: Run, split: str, sets: Sequence[str] = SETS) -> set[int]:
    """Indices of the subjects with labels in this split of any of these sets."""
    parts = [run.store.labels(name, split).subject for name in sets]
    return set(np.unique(np.concatenate(parts)).tolist())
