"""Deformable curves: the geometry of a drawn face.

A curve holds its points for every frame of a video at once, ``[F, P, 2]``; where
nothing moves F is 1. Splines are linear in their control points, so a curve costs one
matrix product for all frames.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Number = Floats | float
"""A length or a share: one number, or one per frame, ``[F]``."""

BLACK, WHITE = np.zeros(3), np.full(3, 255.0)


class Layer(NamedTuple):
    """A filled polygon.

    Attributes:
      points: ``[F, P, 2]``, x to the right and y down.
      color: ``[F, 3]`` or ``[3]``, RGB in 0 to 255.
    """

    points: Floats
    color: Floats


def points(*pairs: tuple[Number, Number]) -> Floats:
    """Corners ``[F, K, 2]`` from K pairs of x and y."""
    columns = np.broadcast_arrays(*[np.asarray(c, float) for p in pairs for c in p])
    flat = np.stack([np.atleast_1d(column) for column in columns], axis=-1)
    return flat.reshape(*flat.shape[:-1], len(pairs), 2)


def curve(*pairs: tuple[Number, Number], closed: bool = False) -> Floats:
    """A smooth line ``[F, P, 2]`` through K points."""
    return _basis(len(pairs), closed) @ points(*pairs)


def oval(x: Number, y: Number, width: Number, height: Number) -> Floats:
    """An ellipse ``[F, 20, 2]`` about a middle, from its two half axes."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    x, y, width, height = (
        np.atleast_1d(np.asarray(v, float))[:, None] for v in (x, y, width, height)
    )
    columns = np.broadcast_arrays(x + width * np.cos(turn), y + height * np.sin(turn))
    return np.stack(columns, axis=-1)


def between(first: Floats, second: Floats) -> Floats:
    """The area between two lines that run the same way."""
    frames = max(len(first), len(second))
    lines = [
        np.broadcast_to(line, (frames, *line.shape[1:]))
        for line in (first, second[:, ::-1])
    ]
    return np.concatenate(lines, axis=1)


def stroke(line: Floats, thickness: Number) -> Floats:
    """A line as an area: thick in the middle, pointed at its ends."""
    swell = np.sin(np.linspace(0.12, np.pi - 0.12, line.shape[1]))
    half = np.atleast_1d(np.asarray(thickness, float))[:, None, None] / 2
    along = np.gradient(line, axis=1)
    across = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-9
    across = across * swell[:, None] * half
    return between(line - across, line + across)


def blend(first: Floats, second: Floats, share: Number) -> Floats:
    """A mixture of two colours, ``[3]`` or ``[F, 3]``; all ``second`` at share 1."""
    share = np.clip(np.asarray(share, np.float64), 0, 1)[..., None]
    return first * (1 - share) + second * share


@cache
def _basis(count: int, closed: bool, steps: int = 6) -> Floats:
    """Catmull-Rom weights ``[P, count]``: a curve is this matrix times its controls."""
    spans = count if closed else count - 1
    t = np.arange(steps) / steps
    taps = [
        -t / 2 + t**2 - t**3 / 2,
        1 - 2.5 * t**2 + 1.5 * t**3,
        t / 2 + 2 * t**2 - 1.5 * t**3,
        -(t**2) / 2 + t**3 / 2,
    ]
    basis = np.zeros((spans * steps + (not closed), count))
    for span in range(spans):
        for tap, weights in enumerate(taps, start=span - 1):
            index = tap % count if closed else min(max(tap, 0), count - 1)
            basis[span * steps : (span + 1) * steps, index] += weights
    if not closed:
        basis[-1, -1] = 1
    return basis
