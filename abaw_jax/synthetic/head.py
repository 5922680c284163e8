"""Draws shoulders, head, hair, beard and glasses."""

import numpy as np

from abaw_jax.synthetic.appearance import Appearance
from abaw_jax.synthetic.curves import (
    WHITE,
    Floats,
    Layer,
    between,
    blend,
    curve,
    oval,
    points,
    stroke,
)


def body(looks: Appearance) -> list[Layer]:
    """Shoulders and neck."""
    shoulders = curve((-1.6, 1.6), (-1.1, 1.02), (0, 0.86), (1.1, 1.02), (1.6, 1.6))
    neck = points((-0.34, 0.5), (0.34, 0.5), (0.38, 1.02), (0, 1.12), (-0.38, 1.02))
    return [Layer(shoulders, looks.shirt), Layer(neck, looks.skin * 0.74)]


def skull(looks: Appearance, jaw: Floats) -> list[Layer]:
    """Ears and the outline of the face, whose chin follows the jaw."""
    width, corner = looks.width, looks.width * (0.62 + 0.35 * looks.jaw)
    chin = looks.chin + jaw
    ears = [
        Layer(oval(side * (width + 0.02), -0.02, 0.07, 0.14), looks.skin * 0.88)
        for side in (-1, 1)
    ]
    outline = curve(
        (0, -0.98),
        (0.72 * width, -0.84),
        (width, -0.34),
        (0.98 * width, 0.1),
        (corner, 0.5 + 0.35 * jaw),
        (0.46 * corner, chin - 0.06),
        (0, chin),
        (-0.46 * corner, chin - 0.06),
        (-corner, 0.5 + 0.35 * jaw),
        (-0.98 * width, 0.1),
        (-width, -0.34),
        (-0.72 * width, -0.84),
        closed=True,
    )
    return [*ears, Layer(outline, looks.skin)]


def hair(looks: Appearance) -> tuple[list[Layer], list[Layer]]:
    """Hair behind the head and the cap in front of it; none on a bald head."""
    if not looks.volume:
        return [], []
    width, rise = looks.width + 0.6 * looks.volume, -0.98 - looks.volume
    end = -0.2 + looks.length
    flare = width + 0.10 * max(looks.length, 0)
    back = curve(
        (0, rise),
        (0.8 * width, rise + 0.2),
        (width + 0.03, -0.3),
        (flare, end),
        (0.7 * flare, end + 0.15),
        (-0.7 * flare, end + 0.15),
        (-flare, end),
        (-width - 0.03, -0.3),
        (-0.8 * width, rise + 0.2),
        closed=True,
    )
    part, line = looks.parting, looks.hairline
    over = curve((-width, -0.25), (-0.8 * width, rise + 0.15), (0, rise - 0.1))
    over = np.concatenate([over, over[:, ::-1] * [-1, 1]], axis=1)
    under = curve(
        (-looks.width * 0.98, -0.18),
        (-0.8 * looks.width, line + 0.14 + 0.1 * part),
        (-0.35, line - 0.08 * part),
        (0.6 * part, line - 0.10),
        (0.35, line + 0.08 * part),
        (0.8 * looks.width, line + 0.14 - 0.1 * part),
        (looks.width * 0.98, -0.18),
    )
    shine = curve((-0.42, rise + 0.32), (-0.1, rise + 0.22), (0.25, rise + 0.26))
    waves = [_curly(line, looks.curls) for line in (back, over)]
    return (
        [Layer(waves[0], looks.hair * 0.7)],
        [
            Layer(np.concatenate([waves[1], under[:, ::-1]], axis=1), looks.hair),
            Layer(stroke(shine, 0.05), blend(looks.hair, WHITE, 0.16)),
        ],
    )


def _curly(line: Floats, amplitude: float) -> Floats:
    bump = 1 + amplitude * np.sin(np.arange(line.shape[1]) * 1.9)
    return line * bump[:, None]


def beard(looks: Appearance, jaw: Floats) -> list[Layer]:
    """Hair from ear to ear along the jaw; none without a beard."""
    if not looks.beard:
        return []
    color = blend(looks.skin, looks.hair, looks.beard)
    width, chin = looks.width, looks.chin + jaw + 0.03
    corner = width * (0.62 + 0.35 * looks.jaw)
    ring = curve(
        (-0.98 * width, 0.12),
        (-1.01 * corner, 0.5 + 0.35 * jaw),
        (-0.48 * corner, chin - 0.06),
        (0, chin),
        (0.48 * corner, chin - 0.06),
        (1.01 * corner, 0.5 + 0.35 * jaw),
        (0.98 * width, 0.12),
    )
    inside = curve(
        (-0.9 * width, 0.12), (-0.42, 0.38), (-0.2, 0.3), (0, 0.31), (0.2, 0.3),
        (0.42, 0.38), (0.9 * width, 0.12),
    )  # fmt: skip
    return [Layer(between(ring, inside), color)]


def glasses(looks: Appearance) -> list[Layer]:
    """A frame, which hides some of the eyes; none without glasses."""
    if not looks.glasses:
        return []
    frame = looks.hair * 0.35
    layers = [
        Layer(stroke(curve((-0.14, -0.1), (0, -0.14), (0.14, -0.1)), 0.04), frame)
    ]
    for side in (-1, 1):
        ring = oval(side * looks.spacing, -0.09, 0.22, 0.19)
        ring = np.concatenate([ring, ring[:, :1]], axis=1)
        center = np.array([side * looks.spacing, -0.09])
        inside = center + (ring - center) * 0.88
        layers.append(Layer(between(ring, inside), frame))
    return layers
