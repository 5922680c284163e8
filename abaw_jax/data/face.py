"""A drawn face whose geometry follows the twelve action units.

A face is a list of layers, back to front; a layer is a polygon that moves: its points
for *every* frame of a video at once, ``[F, P, 2]``. Splines are linear in their control
points, so all curves of all frames cost one matrix product each, and what remains per
frame is Pillow filling some sixty polygons. Coordinates: the face looks at us, the
origin between nose and eyes, x to the right, y down, the crop reaching from -1 to 1.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from abaw_jax.tasks import ACTION_UNITS

Floats = NDArray[np.floating]

_SUPERSAMPLE = 2  # a third sample per pixel adds 40 % to the time and little to the eye
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
_IRISES = np.array([[92, 62, 40], [70, 108, 74], [72, 112, 156], [96, 98, 104]], float)
_BLACK, _WHITE = np.zeros(3), np.full(3, 255.0)


@dataclass(frozen=True)
class Looks:
    """What stays the same about a person and the room: shape, colours, light, camera.

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
    """What a face does: one row per frame.

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


class _Layer(NamedTuple):
    points: Floats  # [F, P, 2]
    color: Floats  # [F, 3] or [3]


def draw_looks(rng: np.random.Generator) -> Looks:
    """Draws a person, the light and the camera.

    Args:
      rng: the only source of chance; the same state gives the same person.

    Returns:
      The looks.
    """
    shade = rng.uniform(0, len(_SKINS) - 1)
    skin = _blend(_SKINS[int(shade)], _SKINS[int(shade) + 1], shade % 1)
    hair = _HAIRS[rng.choice(len(_HAIRS), p=_hair_odds(shade))]
    if rng.random() < 0.12:
        hair = np.full(3, rng.uniform(140, 215))
    masculine = rng.random() < 0.5
    angle = rng.uniform(0, 2 * np.pi)
    return Looks(
        skin=skin * rng.uniform(0.96, 1.02, 3),
        hair=hair * rng.uniform(0.8, 1.15),
        iris=_IRISES[0 if shade > 2.5 else rng.integers(len(_IRISES))],
        lips=_blend(skin, np.array([176.0, 62, 72]), rng.uniform(0.3, 0.75)),
        shirt=rng.uniform(40, 220, 3),
        wall=rng.uniform(90, 215) + rng.uniform(-35, 35, 3),
        width=rng.uniform(0.60, 0.70),
        jaw=rng.uniform(0.60, 0.74) + 0.08 * masculine,
        chin=rng.uniform(0.80, 0.88),
        eyes=rng.uniform(0.84, 1.14),
        spacing=rng.uniform(0.28, 0.33),
        brows=rng.uniform(0.55, 1.0) + 0.35 * masculine,
        frown=rng.normal(0, 0.025),
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
        light=rng.uniform(0.1, 0.4) * np.array([np.cos(angle), np.sin(angle)]),
        warmth=rng.normal(0, 0.05),
        exposure=rng.uniform(0.75, 1.12),
        blur=max(0.0, rng.uniform(-0.6, 0.8)),
        noise=rng.uniform(1.0, 7.0),
    )


def render(
    looks: Looks, motion: Motion, *, size: int, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Draws a face frame by frame.

    Args:
      looks: the person.
      motion: what the person does, F frames.
      size: side of the square crop in pixels.
      rng: source of the sensor noise.

    Yields:
      ``[size, size, 3]`` RGB, F times.
    """
    layers = [
        (layer, *_on_canvas(layer, size * _SUPERSAMPLE))
        for layer in _layers(looks, motion)
    ]
    side = size * _SUPERSAMPLE
    light = _light(looks, size)
    noise = looks.noise * rng.standard_normal((4, size, size, 1), np.float32)
    shifts = rng.integers(size, size=(len(motion.widen), 2))
    wall = tuple(np.clip(looks.wall, 0, 255).astype(int).tolist())
    for frame, shift in enumerate(shifts):
        image = Image.new("RGB", (side, side), wall)
        pen = ImageDraw.Draw(image)
        for _, points, colors in layers:
            pen.polygon(points[frame], fill=colors[frame % len(colors)])
        image = image.reduce(_SUPERSAMPLE)
        if looks.blur:
            image = image.filter(ImageFilter.GaussianBlur(looks.blur))
        grain = np.roll(noise[frame % 4], tuple(shift), (0, 1))
        yield np.clip(np.asarray(image) * light + grain, 0, 255).astype(np.uint8)


def _hair_odds(shade: float) -> Floats:
    odds = (
        np.array([4.0, 2.0, 1.0, 1.0, 0.5]) if shade < 2 else np.array([6, 2, 0, 0, 0])
    )
    return odds / odds.sum()


def _on_canvas(
    layer: _Layer, side: int
) -> tuple[list[list[float]], list[tuple[int, ...]]]:
    points = (layer.points + 1) * (side / 2)
    colors = np.clip(np.atleast_2d(layer.color), 0, 255).astype(int)
    flat = np.round(points.reshape(len(points), -1), 2)
    return flat.tolist(), [tuple(color) for color in colors.tolist()]


def _light(looks: Looks, size: int) -> Floats:
    """Brightness per pixel: lit from one side, darker toward the rim of the head."""
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis, axis)
    rim = 1.06 - 0.14 * np.clip((x / 0.8) ** 2 + (y / 1.0) ** 2, 0, 1.4)
    shade = looks.exposure * (rim + looks.light[0] * x + looks.light[1] * y)
    tint = np.array([1 + looks.warmth, 1.0, 1 - looks.warmth])
    return (shade[..., None] * tint).astype(np.float32)


def _blend(first: Floats, second: Floats, share: Floats | float) -> Floats:
    share = np.clip(np.asarray(share, np.float64), 0, 1)[..., None]
    return first * (1 - share) + second * share


@cache
def _basis(count: int, closed: bool, steps: int = 6) -> Floats:
    """Catmull-Rom weights ``[P, count]``: a curve is this matrix times its controls."""
    spans = count if closed else count - 1
    t = np.arange(steps) / steps
    weights = np.stack(
        [
            -t / 2 + t**2 - t**3 / 2,
            1 - 2.5 * t**2 + 1.5 * t**3,
            t / 2 + 2 * t**2 - 1.5 * t**3,
            -(t**2) / 2 + t**3 / 2,
        ],
        axis=1,
    )
    basis = np.zeros((spans * steps + (not closed), count))
    for span in range(spans):
        for tap in range(4):
            index = span - 1 + tap
            index = index % count if closed else min(max(index, 0), count - 1)
            basis[span * steps : (span + 1) * steps, index] += weights[:, tap]
    if not closed:
        basis[-1, -1] = 1
    return basis


def _points(*pairs: tuple[Floats | float, Floats | float]) -> Floats:
    """Control points ``[F, K, 2]`` from K pairs, each number or ``[F]``."""
    columns = np.broadcast_arrays(*[np.asarray(c, float) for p in pairs for c in p])
    flat = np.stack([np.atleast_1d(column) for column in columns], axis=-1)
    return flat.reshape(*flat.shape[:-1], len(pairs), 2)


def _curve(
    *pairs: tuple[Floats | float, Floats | float], closed: bool = False
) -> Floats:
    return _basis(len(pairs), closed) @ _points(*pairs)


def _oval(
    x: Floats | float, y: Floats | float, width: Floats | float, height: Floats | float
) -> Floats:
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    x, y, width, height = (
        np.atleast_1d(np.asarray(v, float))[:, None] for v in (x, y, width, height)
    )
    columns = np.broadcast_arrays(x + width * np.cos(turn), y + height * np.sin(turn))
    return np.stack(columns, axis=-1)


def _between(upper: Floats, lower: Floats) -> Floats:
    """The area between two curves that run the same way."""
    upper, lower = np.broadcast_arrays(upper, lower)
    return np.concatenate([upper, lower[:, ::-1]], axis=1)


def _stroke(curve: Floats, thickness: Floats | float) -> Floats:
    """A line as an area: thick in the middle, pointed at its ends."""
    swell = np.sin(np.linspace(0.12, np.pi - 0.12, curve.shape[1]))
    thickness = np.atleast_1d(np.asarray(thickness, float))[:, None] * swell / 2
    along = np.gradient(curve, axis=1)
    normal = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    return _between(
        curve - normal * thickness[..., None], curve + normal * thickness[..., None]
    )


def _layers(looks: Looks, motion: Motion) -> list[_Layer]:
    act = dict(zip(ACTION_UNITS, motion.actions.T, strict=True))
    act["AU25"] = np.maximum(act["AU25"], motion.speech)
    jaw = 0.16 * act["AU26"] + 0.05 * motion.speech
    back, front = _hair(looks)
    head = [
        *_body(looks),
        *back,
        *_skull(looks, jaw),
        *_cheeks(looks, act),
        *_forehead(looks, act),
        *_beard(looks, jaw),
        *_mouth(looks, act, motion.speech, jaw),
        *_nose(looks, act),
    ]
    for side in (-1.0, 1.0):
        head += _eye(looks, act, motion, side)
        head += _brow(looks, act, side)
    head += [*front, *_glasses(looks)]
    return [_Layer(_posed(layer.points, motion.pose), layer.color) for layer in head]


def _posed(points: Floats, pose: Floats) -> Floats:
    """Turns the head: an egg seen from the front, kept on its eyes as aligned crops are."""
    x, y = points[..., 0], points[..., 1]
    depth = 0.75 * np.sqrt(np.clip(1 - (x / 0.8) ** 2 - (y / 1.1) ** 2, 0, 1))
    yaw, pitch, roll = pose.T[:, :, None]
    eyes = 0.9 * 0.65
    turned = x * np.cos(yaw) + (depth - eyes) * np.sin(yaw)
    nodded = y * np.cos(pitch) - (depth - eyes) * np.sin(pitch)
    return np.stack(
        [
            turned * np.cos(roll) - nodded * np.sin(roll),
            turned * np.sin(roll) + nodded * np.cos(roll),
        ],
        axis=-1,
    )


def _body(looks: Looks) -> list[_Layer]:
    shoulders = _curve((-1.6, 1.6), (-1.1, 1.02), (0, 0.86), (1.1, 1.02), (1.6, 1.6))
    neck = _points((-0.34, 0.5), (0.34, 0.5), (0.38, 1.02), (0, 1.12), (-0.38, 1.02))
    return [_Layer(shoulders, looks.shirt), _Layer(neck, looks.skin * 0.74)]


def _skull(looks: Looks, jaw: Floats) -> list[_Layer]:
    width, corner = looks.width, looks.width * (0.62 + 0.35 * looks.jaw)
    chin = looks.chin + jaw
    ears = [
        _Layer(_oval(side * (width + 0.02), -0.02, 0.07, 0.14), looks.skin * 0.88)
        for side in (-1, 1)
    ]
    outline = _curve(
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
    return [*ears, _Layer(outline, looks.skin)]


def _cheeks(looks: Looks, act: Mapping[str, Floats]) -> list[_Layer]:
    """Blush that rises with the cheeks, and the fold from the nose to the mouth."""
    lift = np.maximum(act["AU6"], 0.6 * act["AU12"])
    blush = _blend(looks.skin, np.array([214.0, 84, 72]), 0.10 + 0.22 * lift)
    layers = []
    for side in (-1, 1):
        for ring in (1.0, 0.7, 0.4):
            oval = _oval(
                side * 0.40,
                0.24 - 0.08 * lift,
                0.17 * ring,
                (0.12 + 0.03 * lift) * ring,
            )
            layers.append(_Layer(oval, _blend(looks.skin, blush, 1.25 - ring)))
        depth = 0.1 + 0.25 * looks.age + 0.8 * act["AU10"] + 0.6 * act["AU12"]
        raised = act["AU10"]
        corner = 0.30 + 0.07 * act["AU12"]
        fold = _curve(
            (side * 0.17, 0.19 - 0.05 * raised),
            (side * (0.27 + 0.04 * act["AU12"]), 0.28 - 0.03 * raised),
            (side * corner, 0.44 - 0.05 * act["AU12"]),
        )
        shade = _blend(looks.skin, looks.skin * 0.62, depth)
        layers.append(_Layer(_stroke(fold, 0.012 + 0.03 * np.clip(depth, 0, 1)), shade))
    return layers


def _forehead(looks: Looks, act: Mapping[str, Floats]) -> list[_Layer]:
    """Wrinkles: across by raised brows (AU1 middle, AU2 sides), upright by AU4."""
    layers = []
    for height in (-0.47, -0.56):
        middle = 0.2 * looks.age + 0.9 * act["AU1"]
        curve = _curve((-0.24, height), (0, height - 0.03), (0.24, height))
        layers.append(_wrinkle(looks, curve, middle))
        for side in (-1, 1):
            curve = _curve(
                (side * 0.24, height),
                (side * 0.36, height - 0.02),
                (side * 0.46, height),
            )
            layers.append(_wrinkle(looks, curve, 0.1 * looks.age + act["AU2"]))
    for side in (-1, 1):
        curve = _curve(
            (side * 0.05, -0.42), (side * 0.035, -0.34), (side * 0.045, -0.26)
        )
        layers.append(_wrinkle(looks, curve, act["AU4"] + 0.15 * looks.age))
    return layers


def _wrinkle(looks: Looks, curve: Floats, depth: Floats) -> _Layer:
    depth = np.clip(depth, 0, 1)
    return _Layer(
        _stroke(curve, 0.036 * depth), _blend(looks.skin, looks.skin * 0.58, depth)
    )


def _brow(looks: Looks, act: Mapping[str, Floats], side: float) -> list[_Layer]:
    inner, outer, lower = act["AU1"], act["AU2"], act["AU4"]
    height = -0.315 + looks.frown - 0.02 * looks.eyes
    middle = looks.spacing + 0.02
    curve = _curve(
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
    color = _blend(looks.hair * 0.85, looks.skin, 0.15)
    return [_Layer(_stroke(curve, 0.07 * looks.brows), color)]


def _eye(
    looks: Looks, act: Mapping[str, Floats], motion: Motion, side: float
) -> list[_Layer]:
    """White, iris and pupil, then lids of skin that cover what they should."""
    x, y, half = side * looks.spacing, -0.1, 0.155 * looks.eyes
    tight, cheek, awake = act["AU7"], act["AU6"], 1 - motion.blink
    up = looks.eyes * (0.105 + 0.055 * motion.widen - 0.042 * tight - 0.012 * cheek)
    down = looks.eyes * (0.06 - 0.030 * tight - 0.038 * cheek)
    up = np.clip(up, 0.012, None) * awake - 0.04 * motion.blink
    down = np.clip(down, 0.008, None) * (1 - 0.2 * motion.blink)
    upper, lower = (
        _curve(
            (x - half, y),
            (x - half * 0.5, y + 0.85 * height),
            (x, y + height),
            (x + half * 0.5, y + 0.85 * height),
            (x + half, y),
        )
        for height in (-up, down)
    )
    brim = _curve((x - half * 1.18, y), (x, y - 0.21), (x + half * 1.18, y))
    bag = _curve((x - half * 1.18, y), (x, y + 0.16), (x + half * 1.18, y))
    steps = np.linspace(0, 1, upper.shape[1])
    brim, bag = (_resampled(curve, steps) for curve in (brim, bag))
    iris = (x + 0.05 * motion.gaze[:, 0], y - 0.015 + 0.03 * motion.gaze[:, 1])
    radius = 0.088 * looks.eyes
    shine = (iris[0] - 0.03, iris[1] - 0.035)
    puff = _blend(looks.skin * 0.95, looks.skin * 0.74, 0.8 * tight + 0.6 * cheek)
    layers = [
        _Layer(_between(upper, lower), _WHITE * 0.95),
        _Layer(_oval(*iris, radius, radius), looks.iris),
        _Layer(_oval(*iris, radius * 0.5, radius * 0.5), _BLACK + 12),
        _Layer(_oval(*shine, 0.02, 0.02), _WHITE),
        _Layer(_between(brim, upper), looks.skin * 0.93),
        _Layer(_between(lower, bag), looks.skin * 0.97),
        _Layer(_stroke(upper, 0.04), _blend(looks.hair * 0.4, _BLACK, 0.4)),
        _Layer(_stroke(lower, 0.016), looks.skin * 0.55),
        _Layer(_stroke(lower + [0, 0.045], 0.03 * np.maximum(tight, cheek)), puff),
    ]
    for slope in (-0.05, 0.02, 0.09):
        feet = _curve(
            (x + side * half * 1.15, y + 0.02 + 0.3 * slope),
            (x + side * (half + 0.08), y + 0.02 + 0.8 * slope),
            (x + side * (half + 0.13), y + 0.02 + 1.3 * slope),
        )
        layers.append(_wrinkle(looks, feet, 0.9 * cheek + 0.25 * looks.age))
    return layers


def _resampled(curve: Floats, steps: Floats) -> Floats:
    """A curve at other places along it, for areas between curves of unlike length."""
    place = steps * (curve.shape[1] - 1)
    low = np.minimum(place.astype(int), curve.shape[1] - 2)
    share = (place - low)[:, None]
    return curve[:, low] * (1 - share) + curve[:, low + 1] * share


def _nose(looks: Looks, act: Mapping[str, Floats]) -> list[_Layer]:
    raised = act["AU10"]
    wing, tip = 0.115 * looks.nose * (1 + 0.2 * raised), 0.2 - 0.02 * raised
    wings = 0.215 - 0.055 * raised
    shade = looks.skin * 0.82
    side = np.sign(looks.light[0]) or 1.0
    bridge = _curve(
        (side * 0.05, -0.12), (side * 0.045, 0.02), (side * 0.08, tip - 0.02)
    )
    layers = [
        _Layer(_stroke(bridge, 0.05), looks.skin * 0.88),
        _Layer(_oval(0, tip - 0.01, wing * 0.8, 0.07), looks.skin * 1.04),
    ]
    for side in (-1, 1):
        layers.append(_Layer(_oval(side * wing * 0.8, wings, wing * 0.42, 0.05), shade))
        hole = _oval(side * wing * 0.5, wings + 0.035, wing * 0.24, 0.018)
        layers.append(_Layer(hole, looks.skin * 0.38))
    for height in (-0.10, -0.04, 0.02):
        crease = _curve(
            (-0.09, height + 0.02), (0, height - 0.01), (0.09, height + 0.02)
        )
        layers.append(_wrinkle(looks, crease, 0.9 * raised))
    return layers


def _mouth(
    looks: Looks, act: Mapping[str, Floats], speech: Floats, jaw: Floats
) -> list[_Layer]:
    """Lips as two bands around an opening with teeth and tongue."""
    smile, sad, thin, press = act["AU12"], act["AU15"], act["AU23"], act["AU24"]
    y = 0.48 + 0.25 * jaw
    half = looks.mouth * 0.25
    half = half * (1 + 0.30 * smile + 0.06 * sad - 0.24 * thin - 0.10 * press)
    half = half * (1 - 0.18 * act["AU26"] - 0.10 * speech)
    corner = y - 0.10 * smile + 0.11 * sad
    gap = (0.055 * act["AU25"] + 0.17 * act["AU26"] + 0.05 * speech) * (1 - press)
    lift = 0.065 * act["AU10"] * (1 - press)
    full = 0.062 * looks.fullness
    top = full * (1 - 0.62 * thin - 0.85 * press)
    bottom = full * 1.25 * (1 - 0.55 * thin - 0.85 * press)
    inner_top = y - 0.35 * gap - lift
    inner_bottom = y + 0.65 * gap - 0.3 * lift

    def span(middle: Floats, hollow: float = 0.0) -> Floats:
        edge = middle + 0.28 * (corner - middle)
        return _curve(
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
    lips = _blend(looks.lips, looks.skin, 0.25 * thin + 0.4 * press)
    line = _blend(looks.lips * 0.5, _BLACK, 0.3 * press)
    layers = [
        _Layer(_between(span(inner_top - top, 0.018), opening[0]), lips * 0.92),
        _Layer(_between(opening[1], span(inner_bottom + bottom)), lips),
        _Layer(_between(*opening), np.array([70.0, 22, 26])),
        _Layer(_between(tongue, opening[1]), np.array([196.0, 88, 92])),
        _Layer(_between(opening[0], teeth), np.array([246.0, 242, 232])),
        _Layer(_stroke(opening[0], 0.016 + 0.022 * press), line),
    ]
    for side in (-1, 1):
        dimple = _curve(
            (side * (half + 0.01), corner - 0.03),
            (side * (half + 0.035), corner + 0.01),
            (side * (half + 0.02), corner + 0.05),
        )
        depth = 0.8 * sad + 0.7 * smile + 0.7 * thin + 0.5 * press
        layers.append(_wrinkle(looks, dimple, depth))
    for below, depth in ((0.035, 0.9 * press), (0.07, 0.7 * sad + 0.5 * thin)):
        bulge = y + gap * 0.65 + bottom + below
        crease = _curve((-0.5 * half, bulge), (0, bulge - 0.02), (0.5 * half, bulge))
        layers.append(_wrinkle(looks, crease, depth))
    return layers


def _hair(looks: Looks) -> tuple[list[_Layer], list[_Layer]]:
    """Hair behind the head and the cap in front of it; none on a bald head."""
    if not looks.volume:
        return [], []
    width, rise = looks.width + 0.6 * looks.volume, -0.98 - looks.volume
    end = -0.2 + looks.length
    flare = width + 0.10 * max(looks.length, 0)
    back = _curve(
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
    over = _curve((-width, -0.25), (-0.8 * width, rise + 0.15), (0, rise - 0.1))
    over = np.concatenate([over, over[:, ::-1] * [-1, 1]], axis=1)
    under = _curve(
        (-looks.width * 0.98, -0.18),
        (-0.8 * looks.width, line + 0.14 + 0.1 * part),
        (-0.35, line - 0.08 * part),
        (0.6 * part, line - 0.10),
        (0.35, line + 0.08 * part),
        (0.8 * looks.width, line + 0.14 - 0.1 * part),
        (looks.width * 0.98, -0.18),
    )
    shine = _curve((-0.42, rise + 0.32), (-0.1, rise + 0.22), (0.25, rise + 0.26))
    waves = [_curly(curve, looks.curls) for curve in (back, over)]
    return (
        [_Layer(waves[0], looks.hair * 0.7)],
        [
            _Layer(np.concatenate([waves[1], under[:, ::-1]], axis=1), looks.hair),
            _Layer(_stroke(shine, 0.05), _blend(looks.hair, _WHITE, 0.16)),
        ],
    )


def _curly(curve: Floats, amplitude: float) -> Floats:
    bump = 1 + amplitude * np.sin(np.arange(curve.shape[1]) * 1.9)
    return curve * bump[:, None]


def _beard(looks: Looks, jaw: Floats) -> list[_Layer]:
    if not looks.beard:
        return []
    color = _blend(looks.skin, looks.hair, looks.beard)
    width, chin = looks.width, looks.chin + jaw + 0.03
    corner = width * (0.62 + 0.35 * looks.jaw)
    ring = _curve(
        (-0.98 * width, 0.12),
        (-1.01 * corner, 0.5 + 0.35 * jaw),
        (-0.48 * corner, chin - 0.06),
        (0, chin),
        (0.48 * corner, chin - 0.06),
        (1.01 * corner, 0.5 + 0.35 * jaw),
        (0.98 * width, 0.12),
    )
    inside = _curve(
        (-0.9 * width, 0.12), (-0.42, 0.38), (-0.2, 0.3), (0, 0.31), (0.2, 0.3),
        (0.42, 0.38), (0.9 * width, 0.12),
    )  # fmt: skip
    return [_Layer(_between(*np.broadcast_arrays(ring, inside)), color)]


def _glasses(looks: Looks) -> list[_Layer]:
    if not looks.glasses:
        return []
    frame = looks.hair * 0.35
    layers = [
        _Layer(_stroke(_curve((-0.14, -0.1), (0, -0.14), (0.14, -0.1)), 0.04), frame)
    ]
    for side in (-1, 1):
        ring = _oval(side * looks.spacing, -0.09, 0.22, 0.19)
        ring = np.concatenate([ring, ring[:, :1]], axis=1)
        center = np.array([side * looks.spacing, -0.09])
        inside = center + (ring - center) * 0.88
        layers.append(_Layer(_between(ring, inside), frame))
    return layers
