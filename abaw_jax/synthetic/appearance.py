"""The appearance of a simulated person and of the scene."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from abaw_jax.synthetic.curves import Floats, blend

_SKINS = np.array(
    [
        [252, 222, 202],
        [241, 200, 170],
        [224, 176, 138],
        [196, 142, 102],
        [150, 102, 70],
        [104, 68, 46],
    ],
    np.float64,
)
_HAIRS = np.array(
    [[38, 28, 26], [72, 46, 32], [122, 78, 44], [196, 152, 92], [150, 62, 32]],
    np.float64,
)
_IRISES = np.array(
    [[92, 62, 40], [70, 108, 74], [72, 112, 156], [96, 98, 104]], np.float64
)


@dataclass(frozen=True)
class Appearance:
    """Constant appearance of a person and the room: shape, colours, light, camera.

    Lengths are in half crops; colours are RGB ``[3]`` in 0 to 255.
    """

    skin: Floats
    hair: Floats
    iris: Floats
    lips: Floats
    shirt: Floats
    wall: Floats
    width: float
    jaw: float
    chin: float
    eyes: float
    spacing: float
    brows: float
    frown: float
    nose: float
    mouth: float
    fullness: float
    hairline: float
    parting: float
    volume: float
    curls: float
    length: float
    beard: float
    glasses: float
    age: float
    light: Floats
    warmth: float
    exposure: float
    blur: float
    noise: float


class Motion(NamedTuple):
    """Movements of a face, one row per frame.

    Attributes:
      actions: ``[F, 12]`` intensity of each action unit in ``[0, 1]``.
      widen: ``[F]`` raised upper lids, in ``[-1, 1]``; negative lets them droop.
      blink: ``[F]`` 1 where the eyes are shut.
      speech: ``[F]`` opening of the mouth by speech, in ``[0, 1]``.
      gaze: ``[F, 2]`` right and down, in ``[-1, 1]``.
      pose: ``[F, 3]`` yaw, pitch and roll of the head in radians.
    """

    actions: Floats
    widen: Floats
    blink: Floats
    speech: Floats
    gaze: Floats
    pose: Floats


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draws a person, the light and the camera.

    Args:
      rng: the only source of chance; the same state gives the same person.

    Returns:
      The looks.
    """
    shade = rng.uniform(0, len(_SKINS) - 1)
    skin = blend(_SKINS[int(shade)], _SKINS[int(shade) + 1], shade % 1)
    hair = _HAIRS[rng.choice(len(_HAIRS), p=_hair_odds(shade))]
    if rng.random() < 0.12:
        hair = np.full(3, rng.uniform(140, 215))
    masculine = rng.random() < 0.5
    angle = rng.uniform(0, 2 * np.pi)
    return Appearance(
        skin=skin * rng.uniform(0.96, 1.02, 3),
        hair=hair * rng.uniform(0.8, 1.15),
        iris=_IRISES[0 if shade > 2.5 else rng.integers(len(_IRISES))],
        lips=blend(skin, np.array([176.0, 62, 72]), rng.uniform(0.3, 0.75)),
        shirt=rng.uniform(40, 220, 3),
        wall=rng.uniform(90, 215) + rng.uniform(-35, 35, 3),
        width=rng.uniform(0.60, 0.70),
        jaw=rng.uniform(0.60, 0.74) + 0.08 * masculine,
        chin=rng.uniform(0.80, 0.88),
        eyes=rng.uniform(0.84, 1.14),
        spacing=rng.uniform(0.28, 0.33),
        brows=rng.uniform(0.55, 1.0) + 0.35 * masculine,
        frown=rng.normal(0, 0.015),
        nose=rng.uniform(0.75, 1.25),
        mouth=rng.uniform(0.86, 1.12),
        fullness=rng.uniform(0.75, 1.3),
        hairline=rng.uniform(-0.72, -0.52),
        parting=rng.uniform(-0.5, 0.5),
        volume=0.0 if masculine and rng.random() < 0.15 else rng.uniform(0.08, 0.24),
        curls=max(0.0, rng.uniform(-0.04, 0.04)),
        length=rng.uniform(-0.2, 0.1) if masculine else rng.uniform(0.1, 1.1),
        beard=rng.uniform(0.35, 0.9) if masculine and rng.random() < 0.4 else 0.0,
        glasses=float(rng.random() < 0.22),
        age=rng.uniform(0.0, 1.0) ** 2,
        light=rng.uniform(0.05, 0.3) * np.array([np.cos(angle), np.sin(angle)]),
        warmth=rng.normal(0, 0.05),
        exposure=rng.uniform(0.75, 1.12),
        blur=max(0.0, rng.uniform(-0.6, 0.8)),
        noise=rng.uniform(1.0, 7.0),
    )


def _hair_odds(shade: float) -> Floats:
    odds = (
        np.array([4.0, 2.0, 1.0, 1.0, 0.5]) if shade < 2 else np.array([6, 2, 0, 0, 0])
    )
    return odds / odds.sum()
