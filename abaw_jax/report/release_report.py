"""Writes ``report.json`` and its page, with faces from the finished store."""

from pathlib import Path

import numpy as np

from abaw_jax.releases.findings import Report
from abaw_jax.releases.labels import Labels
from abaw_jax.report.release_page import Face, release_page
from abaw_jax.store.files import replacing
from abaw_jax.store.frames import StoreError
from abaw_jax.store.reader import Store, open_store
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, SETS, SPLITS


def write_page(store: Path, report: Report, name: str) -> Path:
    """Writes ``report.html`` into a store; returns where it is.

    Args:
      store: just prepared.
      report: of ``prepare``.
      name: of what was read.
    """
    page = release_page(report.as_json(), pick_faces(open_store(store, "never")), name)
    path = store / "report.html"
    with replacing(path) as file:
        file.write(page.encode())
    return path


def pick_faces(store: Store, *, each: int = 6) -> list[Face]:
    """Evenly chosen faces, ``each`` of every set and split, the same ones every time.

    Args:
      store: an opened store.
      each: at most so many of a split; they are spread over its rows, which are sorted
        by subject.
    """
    faces = []
    for name in SETS:
        for split in SPLITS:
            labels = store.labels(name, split)
            chosen = np.linspace(0, len(labels) - 1, min(each, len(labels)))
            for row in np.unique(chosen.round().astype(int)) if len(labels) else ():
                faces += _face(store, labels, int(row), f"{name} {split}")
    return faces


def describe(labels: Labels, row: int) -> str:
    """Labels of a row in words: "happiness, v .31 a -.20, AU6 AU12"."""
    parts = []
    if labels.expr_where[row]:
        parts.append(EXPRESSIONS[labels.expr[row]].lower())
    if labels.va_where[row]:
        valence, arousal = labels.va[row]
        parts.append(f"v {valence:+.2f} a {arousal:+.2f}")
    if labels.au_where[row].any():
        shown = (labels.au[row] > 0) & labels.au_where[row]
        units = [unit for unit, on in zip(ACTION_UNITS, shown, strict=True) if on]
        parts.append(" ".join(units) or "no unit")
    return ", ".join(parts)


def _face(store: Store, labels: Labels, row: int, origin: str) -> list[Face]:
    """The face of a row; nothing if its crop can no longer be read."""
    subject, frame = int(labels.subject[row]), int(labels.frame[row])
    place = store.row_of(subject, frame) - store.subjects[subject].first_row
    try:
        pixels = store.frames(subject)[np.array([place])][0]
    except StoreError:
        return []
    name = store.subjects[subject].name
    return [Face(np.asarray(pixels), name, frame, origin, describe(labels, row))]
