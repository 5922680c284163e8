"""What may change between two calls of one run, field by field; all else is refused.

A stage's folder holds what it was made from. A call that differs in these fields alone
goes on in it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from abaw_jax.training.differences import differences

RAISED = {
    "train.epochs": "raised: the run goes on; delta keeps the way that it began",
    "train.patience": "raised: the run goes on",
}
"""Limits of a stage: a run that has ended, or is under way, goes on from its state."""

FREE = {
    "train.checkpoint_seconds": "when a run is saved, not what is",
    "train.nonfinite": "what is done from now on about updates that are not finite",
    "train.nonfinite_limit": "likewise",
}
"""Recorded by a stage, and without effect on its results."""

UNRECORDED = {
    "until": "says how far to go, not how",
    "data.store": "known by the fingerprint of its content",
    "data.verify": "compares the store with itself",
    "data.synthetic": "a release is drawn where none is named",
    "backbone.store": "known by the fingerprint of its content",
    "image_encoder.remat": "computes again what it would keep",
    "image_encoder.onnx": "known by the fingerprint of OnnxEncoder",
    **{
        f"image_encoder.onnx_input.{field}": "likewise"
        for field in ("colours", "layout", "mean", "std", "output")
    },
    "features.batch_size": "rows do not depend on each other",
    "features.table": "where the table lies",
    "features.image": "known by the content of its files",
    "features.sound": "likewise",
    "train.init": "known by the fingerprint of its network",
    "end_to_end.microbatches": "the same sums in slices",
    "kd.cache_soft_labels": "the teacher's outputs once or every round",
    "kd.generations": "each generation is a separate stage",
}
"""Fields that no stage records: they change no result, or a fingerprint covers them."""

HISTORY = "raised_from"
"""Key of a stage's record: the limits of the earlier calls, the first one first."""

Record = dict[str, Any]


def continued(found: Record, wanted: Record) -> Record | None:
    """The record of a stage that goes on in a folder, or ``None`` if it may not.

    Args:
      found: what the folder was made from.
      wanted: what this call would make it from.

    Returns:
      ``found`` if nothing was raised; else it with the limits that are wanted and,
      under `HISTORY`, those it had.
    """
    result = {key: found[key] for key in found if key != HISTORY}
    history, former = found.get(HISTORY, []), {}
    for name in (*RAISED, *FREE):
        room, field = name.split(".")
        if not isinstance(result.get(room), dict) or field not in wanted.get(room, {}):
            continue
        old, new = result[room].get(field), wanted[room][field]
        if name in RAISED:
            if old is None or new < old:
                return None
            former[name] = old
        result[room] = result[room] | {field: new}
    if result != wanted:
        return None
    if all(value == _of(wanted, name) for name, value in former.items()):
        return found
    return wanted | {HISTORY: [*history, former]}


def refused(found: Record, wanted: Record) -> Iterator[str]:
    """Says every difference for which a stage may not go on in a folder."""
    changed = [key for key in _DATA if found.get(key) != wanted.get(key)]
    yield from (_DATA[key] for key in changed)
    hidden = {HISTORY, *changed}
    found, wanted = (
        {key: value for key, value in record.items() if key not in hidden}
        for record in (found, wanted)
    )
    others = {each.split(" ", 1)[0]: each for each in differences(found, wanted)}
    serious = others.keys() - {*FREE, *(RAISED if changed else ())}
    yield from (others[name] for name in others if name in serious)


_DATA = {
    "content": "files of the release were added, removed or changed since",
    "store": "the data have changed since",
    "features": "the features have changed since, as by another encoder or other files "
    "in config.features.image or .sound",
}
"""What another digest under a key means."""


def first_limit(record: Mapping[str, Any], name: str) -> Any:
    """The limit of the first call of a stage, before any was raised."""
    history = record.get(HISTORY)
    return history[0][name] if history else _of(record, name)


def _of(record: Mapping[str, Any], name: str) -> Any:
    room, field = name.split(".")
    return record[room][field]
