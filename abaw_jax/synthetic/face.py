"""A drawn face whose geometry follows the twelve action units.

A face is a list of layers, back to front; a layer is a polygon that moves. The geometry
of all frames is computed at once, and what remains per frame is Pillow filling some
seventy polygons. Coordinates: the face looks at us, the origin between nose and eyes, x
to the right, y down, the crop reaching from -1 to 1.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from abaw_jax.synthetic import face_parts, head
from abaw_jax.synthetic.appearance import Appearance, Motion
from abaw_jax.synthetic.curves import Floats, Layer
from abaw_jax.tasks import ACTION_UNITS

_SUPERSAMPLE = 2  # a third sample per pixel adds 40 % to the time and little to the eye


def render(
    looks: Appearance, motion: Motion, *, size: int, rng: np.random.Generator
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
    side = size * _SUPERSAMPLE
    layers = [_on_canvas(layer, side) for layer in _layers(looks, motion)]
    light = _light(looks, size)
    noise = looks.noise * rng.standard_normal((4, size, size, 1), np.float32)
    shifts = rng.integers(size, size=(len(motion.widen), 2))
    wall = tuple(np.clip(looks.wall, 0, 255).astype(int).tolist())
    for frame, shift in enumerate(shifts):
        image = Image.new("RGB", (side, side), wall)
        pen = ImageDraw.Draw(image)
        for points, colors in layers:
            pen.polygon(points[frame], fill=colors[frame % len(colors)])
        image = image.reduce(_SUPERSAMPLE)
        if looks.blur:
            image = image.filter(ImageFilter.GaussianBlur(looks.blur))
        grain = np.roll(noise[frame % 4], tuple(shift), (0, 1))
        yield np.clip(np.asarray(image) * light + grain, 0, 255).astype(np.uint8)


def _on_canvas(
    layer: Layer, side: int
) -> tuple[list[list[float]], list[tuple[int, ...]]]:
    corners = (layer.points + 1) * (side / 2)
    colors = np.clip(np.atleast_2d(layer.color), 0, 255).astype(int)
    flat = np.round(corners.reshape(len(corners), -1), 2)
    return flat.tolist(), [tuple(color) for color in colors.tolist()]


def _light(looks: Appearance, size: int) -> Floats:
    """Brightness per pixel: lit from one side, darker toward the rim of the head."""
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis, axis)
    rim = 1.06 - 0.14 * np.clip((x / 0.8) ** 2 + (y / 1.0) ** 2, 0, 1.4)
    shade = looks.exposure * (rim + looks.light[0] * x + looks.light[1] * y)
    tint = np.array([1 + looks.warmth, 1.0, 1 - looks.warmth])
    return (shade[..., None] * tint).astype(np.float32)


def _layers(looks: Appearance, motion: Motion) -> list[Layer]:
    act: dict[str, Floats] = dict(zip(ACTION_UNITS, motion.actions.T, strict=True))
    act["AU25"] = np.maximum(act["AU25"], motion.speech)
    jaw = 0.16 * act["AU26"] + 0.05 * motion.speech
    back, front = head.hair(looks)
    layers = [
        *head.body(looks),
        *back,
        *head.skull(looks, jaw),
        *face_parts.cheeks(looks, act),
        *face_parts.forehead(looks, act),
        *head.beard(looks, jaw),
        *face_parts.mouth(looks, act, motion.speech, jaw),
        *face_parts.nose(looks, act),
    ]
    for side in (-1.0, 1.0):
        layers += face_parts.eye(looks, act, motion, side)
        layers += face_parts.brow(looks, act, side)
    layers += [*front, *head.glasses(looks)]
    return [Layer(_posed(layer.points, motion.pose), layer.color) for layer in layers]


def _posed(points: Floats, pose: Floats) -> Floats:
    """Turns the head, an egg, and keeps the eyes in place as aligned crops do."""
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
