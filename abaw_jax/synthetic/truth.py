"""The labels that a reader must find in a synthetic release."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abaw_jax.synthetic.annotation_files import NO_AFFECT, NO_LABEL, Sheet, fill_sheets
from abaw_jax.synthetic.plan import SyntheticSettings, Video, draw_plan
from abaw_jax.synthetic.simulate import simulate_all


@dataclass(frozen=True)
class Labels:
    """Labels that a reader must find in one set: of frames with an image.

    Sorted by subject and frame, no duplicates; 0 where a mask is False.

    Attributes:
      subject: ``[N]`` names.
      frame: ``[N]`` int32 from 1.
      va: ``[N, 2]`` float32.
      va_where: ``[N]`` bool.
      expr: ``[N]`` int32.
      expr_where: ``[N]`` bool.
      au: ``[N, 12]`` uint8.
      au_where: ``[N, 12]`` bool.
      subjects: names of all people of the set, sorted.
      labels_without_image: rows with a valid label whose frame has no crop.
      invalid_labels: rows without any valid label.
    """

    subject: NDArray[np.str_]
    frame: NDArray[np.int32]
    va: NDArray[np.float32]
    va_where: NDArray[np.bool_]
    expr: NDArray[np.int32]
    expr_where: NDArray[np.bool_]
    au: NDArray[np.uint8]
    au_where: NDArray[np.bool_]
    subjects: tuple[str, ...]
    labels_without_image: int
    invalid_labels: int


@dataclass(frozen=True)
class Truth:
    """Everything a release holds.

    Attributes:
      videos: what was filmed.
      images: numbers of the frames with a crop, ascending, by subject.
      labels: by set and split, before any overlap is removed.
    """

    videos: tuple[Video, ...]
    images: dict[str, NDArray[np.int32]]
    labels: dict[tuple[str, str], Labels]


def truth(settings: SyntheticSettings, *, seed: int) -> Truth:
    """Says what the release of these settings and this seed holds.

    Args:
      settings: what to draw.
      seed: the only source of chance.

    Returns:
      Videos, images and labels; nothing is read or drawn.
    """
    videos = draw_plan(settings, seed=seed)
    scenes = simulate_all(videos, settings, seed=seed)
    images = {
        name: (np.flatnonzero(scene.present) + 1).astype(np.int32)
        for name, scene in scenes.items()
    }
    labels = {
        key: _labels([(p.name, s) for p, s in sheets], images)
        for key, sheets in fill_sheets(scenes.values(), settings, seed=seed).items()
    }
    return Truth(videos, images, labels)


def _labels(
    sheets: list[tuple[str, Sheet]], images: dict[str, NDArray[np.int32]]
) -> Labels:
    sheets = sorted(sheets, key=lambda pair: pair[0])
    subject = np.repeat([n for n, _ in sheets], [len(s.frame) for _, s in sheets])
    columns = [
        np.concatenate(column) for column in zip(*(s for _, s in sheets), strict=True)
    ]
    frame, va, expr, au = columns
    seen = np.concatenate([np.isin(s.frame, images[name]) for name, s in sheets])
    va_where, expr_where, au_where = (
        va[:, 0] != NO_AFFECT,
        expr != NO_LABEL,
        au != NO_LABEL,
    )
    valid = va_where | expr_where | au_where.any(axis=1)
    keep = valid & seen
    return Labels(
        subject=subject[keep],
        frame=frame[keep].astype(np.int32),
        va=_as_written(np.where(va_where[:, None], va, 0)[keep]),
        va_where=va_where[keep],
        expr=np.where(expr_where, expr, 0)[keep].astype(np.int32),
        expr_where=expr_where[keep],
        au=np.where(au_where, au, 0)[keep].astype(np.uint8),
        au_where=au_where[keep],
        subjects=tuple(name for name, _ in sheets),
        labels_without_image=int((valid & ~seen).sum()),
        invalid_labels=int((~valid).sum()),
    )


def _as_written(va: NDArray[np.floating]) -> NDArray[np.float32]:
    """The values as the files have them, to three decimals."""
    texts = [f"{value:.3f}" for value in va.ravel().tolist()]
    return np.array(texts, np.float32).reshape(va.shape)
