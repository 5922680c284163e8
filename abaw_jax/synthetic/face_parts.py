"""The parts of a face that the action units move."""

from collections.abc import Mapping

import numpy as np

from abaw_jax.synthetic.appearance import Appearance, Motion
from abaw_jax.synthetic.curves import (
    BLACK,
    WHITE,
    Floats,
    Layer,
    between,
    blend,
    curve,
    oval,
    stroke,
)


def forehead(looks: Appearance, act: Mapping[str, Floats]) -> list[Layer]:
    """Wrinkles: across by raised brows (AU1 middle, AU2 sides), upright by AU4."""
    layers = []
    for height in (-0.47, -0.56):
        middle = 0.2 * looks.age + 0.9 * act["AU1"]
        line = curve((-0.24, height), (0, height - 0.03), (0.24, height))
        layers.append(_wrinkle(looks, line, middle))
        for side in (-1, 1):
            line = curve(
                (side * 0.24, height),
                (side * 0.36, height - 0.02),
                (side * 0.46, height),
            )
            layers.append(_wrinkle(looks, line, 0.1 * looks.age + act["AU2"]))
    for side in (-1, 1):
        line = curve((side * 0.05, -0.42), (side * 0.035, -0.34), (side * 0.045, -0.26))
        layers.append(_wrinkle(looks, line, act["AU4"] + 0.15 * looks.age))
    return layers


def brow(looks: Appearance, act: Mapping[str, Floats], side: float) -> list[Layer]:
    """One eyebrow: raised inside by AU1, outside by AU2, drawn down and in by AU4."""
    inner, outer, lower = act["AU1"], act["AU2"], act["AU4"]
    height = -0.315 + looks.frown - 0.02 * looks.eyes
    middle = looks.spacing + 0.02
    line = curve(
        (
            side * (middle - 0.19 - 0.055 * lower),
            height + 0.02 - 0.14 * inner + 0.115 * lower,
        ),
        (
            side * (middle - 0.02 * lower),
            height - 0.05 - 0.06 * inner - 0.09 * outer + 0.075 * lower,
        ),
        (side * (middle + 0.21), height + 0.03 - 0.14 * outer + 0.03 * lower),
    )
    color = blend(looks.hair * 0.85, looks.skin, 0.15)
    return [Layer(stroke(line, 0.07 * looks.brows), color)]


def eye(
    looks: Appearance, act: Mapping[str, Floats], motion: Motion, side: float
) -> list[Layer]:
    """White, iris and pupil, then lids of skin that cover what they should."""
    x, y, half = side * looks.spacing, -0.1, 0.155 * looks.eyes
    tight, cheek, awake = act["AU7"], act["AU6"], 1 - motion.blink
    up = looks.eyes * (0.105 + 0.055 * motion.widen - 0.042 * tight - 0.012 * cheek)
    down = looks.eyes * (0.06 - 0.030 * tight - 0.038 * cheek)
    up = np.clip(up, 0.012, None) * awake - 0.04 * motion.blink
    down = np.clip(down, 0.008, None) * (1 - 0.2 * motion.blink)
    upper, lower = (
        curve(
            (x - half, y),
            (x - half * 0.5, y + 0.85 * height),
            (x, y + height),
            (x + half * 0.5, y + 0.85 * height),
            (x + half, y),
        )
        for height in (-up, down)
    )
    brim = curve((x - half * 1.18, y), (x, y - 0.21), (x + half * 1.18, y))
    bag = curve((x - half * 1.18, y), (x, y + 0.16), (x + half * 1.18, y))
    iris = (x + 0.05 * motion.gaze[:, 0], y - 0.015 + 0.03 * motion.gaze[:, 1])
    radius = 0.088 * looks.eyes
    shine = (iris[0] - 0.03, iris[1] - 0.035)
    puff = blend(looks.skin * 0.95, looks.skin * 0.74, 0.8 * tight + 0.6 * cheek)
    layers = [
        Layer(between(upper, lower), WHITE * 0.95),
        Layer(oval(*iris, radius, radius), looks.iris),
        Layer(oval(*iris, radius * 0.5, radius * 0.5), BLACK + 12),
        Layer(oval(*shine, 0.02, 0.02), WHITE),
        Layer(between(brim, upper), looks.skin * 0.93),
        Layer(between(lower, bag), looks.skin * 0.97),
        Layer(stroke(upper, 0.04), blend(looks.hair * 0.4, BLACK, 0.4)),
        Layer(stroke(lower, 0.016), looks.skin * 0.55),
        Layer(
            stroke(lower + np.array([0, 0.045]), 0.03 * np.maximum(tight, cheek)), puff
        ),
    ]
    for slope in (-0.05, 0.02, 0.09):
        feet = curve(
            (x + side * half * 1.15, y + 0.02 + 0.3 * slope),
            (x + side * (half + 0.08), y + 0.02 + 0.8 * slope),
            (x + side * (half + 0.13), y + 0.02 + 1.3 * slope),
        )
        layers.append(_wrinkle(looks, feet, 0.9 * cheek + 0.25 * looks.age))
    return layers


def nose(looks: Appearance, act: Mapping[str, Floats]) -> list[Layer]:
    """Nostrils, wings that AU10 lifts, and the creases it makes on the bridge."""
    raised = act["AU10"]
    wing, tip = 0.115 * looks.nose * (1 + 0.2 * raised), 0.2 - 0.02 * raised
    wings = 0.215 - 0.055 * raised
    shade = looks.skin * 0.82
    side = np.sign(looks.light[0]) or 1.0
    bridge = curve(
        (side * 0.05, -0.12), (side * 0.045, 0.02), (side * 0.08, tip - 0.02)
    )
    layers = [
        Layer(stroke(bridge, 0.05), looks.skin * 0.88),
        Layer(oval(0, tip - 0.01, wing * 0.8, 0.07), looks.skin * 1.04),
    ]
    for side in (-1, 1):
        layers.append(Layer(oval(side * wing * 0.8, wings, wing * 0.42, 0.05), shade))
        hole = oval(side * wing * 0.5, wings + 0.035, wing * 0.24, 0.018)
        layers.append(Layer(hole, looks.skin * 0.38))
    for height in (-0.10, -0.04, 0.02):
        crease = curve(
            (-0.09, height + 0.02), (0, height - 0.01), (0.09, height + 0.02)
        )
        layers.append(_wrinkle(looks, crease, 0.9 * raised))
    return layers


def cheeks(looks: Appearance, act: Mapping[str, Floats]) -> list[Layer]:
    """Blush that rises with the cheeks, and the fold from the nose to the mouth."""
    lift = np.maximum(act["AU6"], 0.6 * act["AU12"])
    blush = blend(looks.skin, np.array([214.0, 84, 72]), 0.10 + 0.22 * lift)
    layers = []
    for side in (-1, 1):
        for ring in (1.0, 0.7, 0.4):
            height = (0.12 + 0.03 * lift) * ring
            spot = oval(side * 0.40, 0.24 - 0.08 * lift, 0.17 * ring, height)
            layers.append(Layer(spot, blend(looks.skin, blush, 1.25 - ring)))
        depth = 0.1 + 0.25 * looks.age + 0.8 * act["AU10"] + 0.6 * act["AU12"]
        raised = act["AU10"]
        corner = 0.30 + 0.07 * act["AU12"]
        fold = curve(
            (side * 0.17, 0.19 - 0.05 * raised),
            (side * (0.27 + 0.04 * act["AU12"]), 0.28 - 0.03 * raised),
            (side * corner, 0.44 - 0.05 * act["AU12"]),
        )
        shade = blend(looks.skin, looks.skin * 0.62, depth)
        layers.append(Layer(stroke(fold, 0.012 + 0.03 * np.clip(depth, 0, 1)), shade))
    return layers


def mouth(
    looks: Appearance, act: Mapping[str, Floats], speech: Floats, jaw: Floats
) -> list[Layer]:
    """Lips as two bands around an opening with teeth and tongue."""
    smile, sad, thin, press = act["AU12"], act["AU15"], act["AU23"], act["AU24"]
    y = 0.48 + 0.25 * jaw
    half = looks.mouth * 0.25
    half = half * (1 + 0.30 * smile + 0.06 * sad - 0.34 * thin - 0.08 * press)
    half = half * (1 - 0.18 * act["AU26"] - 0.10 * speech)
    corner = y - 0.10 * smile + 0.11 * sad
    gap = (0.055 * act["AU25"] + 0.17 * act["AU26"] + 0.05 * speech) * (1 - press)
    lift = 0.065 * act["AU10"] * (1 - press)
    full = 0.062 * looks.fullness
    top = full * (1 - 0.72 * thin - 0.85 * press)
    bottom = full * 1.25 * (1 - 0.65 * thin - 0.85 * press)
    inner_top = y - 0.35 * gap - lift
    inner_bottom = y + 0.65 * gap - 0.3 * lift

    def span(middle: Floats, hollow: float = 0.0) -> Floats:
        edge = middle + 0.28 * (corner - middle)
        return curve(
            (-half, corner),
            (-0.55 * half, edge),
            (-0.16 * half, middle),
            (0 * half, middle + hollow),
            (0.16 * half, middle),
            (0.55 * half, edge),
            (half, corner),
        )

    opening = span(inner_top), span(inner_bottom)
    drop = np.clip(opening[1][..., 1] - opening[0][..., 1], 0, None)
    teeth, tongue = opening[0].copy(), opening[1].copy()
    teeth[..., 1] += np.minimum(drop, 0.055)
    tongue[..., 1] -= np.minimum(0.35 * drop, 0.07)
    lips = blend(looks.lips, looks.skin, 0.25 * thin + 0.4 * press)
    line = blend(looks.lips * 0.5, BLACK, 0.3 * press)
    layers = [
        Layer(between(span(inner_top - top, 0.018), opening[0]), lips * 0.92),
        Layer(between(opening[1], span(inner_bottom + bottom)), lips),
        Layer(between(*opening), np.array([70.0, 22, 26])),
        Layer(between(tongue, opening[1]), np.array([196.0, 88, 92])),
        Layer(between(opening[0], teeth), np.array([246.0, 242, 232])),
        Layer(stroke(opening[0], 0.016 + 0.022 * press), line),
    ]
    for side in (-1, 1):
        dimple = curve(
            (side * (half + 0.01), corner - 0.03),
            (side * (half + 0.035), corner + 0.01),
            (side * (half + 0.02), corner + 0.05),
        )
        depth = 0.8 * sad + 0.7 * smile + 0.7 * thin + 0.5 * press
        layers.append(_wrinkle(looks, dimple, depth))
    for below, depth in ((0.035, 0.9 * press), (0.07, 0.7 * sad + 0.5 * thin)):
        bulge = y + gap * 0.65 + bottom + below
        crease = curve((-0.5 * half, bulge), (0, bulge - 0.02), (0.5 * half, bulge))
        layers.append(_wrinkle(looks, crease, depth))
    return layers


def _wrinkle(looks: Appearance, line: Floats, depth: Floats) -> Layer:
    depth = np.clip(depth, 0, 1)
    return Layer(
        stroke(line, 0.036 * depth), blend(looks.skin, looks.skin * 0.58, depth)
    )
