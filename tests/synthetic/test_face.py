import dataclasses

import numpy as np
import pytest

from abaw_jax.synthetic import curves, face_parts, head
from abaw_jax.synthetic.appearance import Appearance, Motion, draw_appearance
from abaw_jax.synthetic.face import render
from abaw_jax.tasks import ACTION_UNITS

BROWS, EYES, MOUTH = slice(10, 46), slice(36, 54), slice(50, 96)


def still(actions: np.ndarray, **others: np.ndarray) -> Motion:
    count = len(actions)
    fields = {name: np.zeros(count) for name in ("widen", "blink", "speech")}
    fields |= {"gaze": np.zeros((count, 2)), "pose": np.zeros((count, 3))}
    return Motion(actions=actions, **(fields | others))


def clean(seed: int) -> Appearance:
    """A person without camera noise, glasses, or a fringe over the brows."""
    looks = draw_appearance(np.random.default_rng(seed))
    return dataclasses.replace(
        looks, noise=0.0, blur=0.0, glasses=0.0, hairline=-0.7, curls=0.0
    )


def pictures(looks: Appearance, motion: Motion, seed: int = 0) -> np.ndarray:
    frames = render(looks, motion, size=96, rng=np.random.default_rng(seed))
    return np.stack(list(frames)).astype(np.float64)


@pytest.mark.parametrize(
    ("unit", "region"),
    [
        *[(unit, BROWS) for unit in ("AU1", "AU2", "AU4")],
        *[(unit, EYES) for unit in ("AU6", "AU7")],
        *[(unit, MOUTH) for unit in ACTION_UNITS[5:]],
    ],
)
def test_a_unit_moves_its_part_of_the_face(unit: str, region: slice) -> None:
    actions = np.zeros((2, 12))
    actions[1, ACTION_UNITS.index(unit)] = 1
    for seed in range(4):
        rest, moved = pictures(clean(seed), still(actions))
        change = ((moved - rest) ** 2).sum(axis=(1, 2))
        assert change.sum() > 3e4
        assert change[region].sum() > 0.75 * change.sum()


def shown(**units: float) -> dict[str, np.ndarray]:
    return {unit: np.array([0.0, units.get(unit, 0.0)]) for unit in ACTION_UNITS}


def brow_heights(**units: float) -> tuple[float, float]:
    """How far the inner and the outer end of a brow rise."""
    line = face_parts.brow(clean(0), shown(**units), 1.0)[0].points
    inner, outer = line[..., 0].argmin(axis=1), line[..., 0].argmax(axis=1)
    ends = np.array(
        [[line[f, place, 1] for f in (0, 1)] for place in (inner[0], outer[0])]
    )
    rise = ends[:, 0] - ends[:, 1]
    return float(rise[0]), float(rise[1])


def test_brows_go_where_their_units_pull() -> None:
    inner, outer = brow_heights(AU1=1.0)
    assert inner > 0.1 and abs(outer) < 0.02
    inner, outer = brow_heights(AU2=1.0)
    assert outer > 0.1 and abs(inner) < 0.02
    inner, outer = brow_heights(AU4=1.0)
    assert inner < -0.08 and inner < outer <= 0


def mouth_shape(**units: float) -> dict[str, float]:
    """Change of the mouth's measures by units at full strength."""
    act = shown(**units)
    upper, lower, opening, *_ = face_parts.mouth(
        clean(0), act, np.zeros(2), 0.16 * act["AU26"]
    )
    half = opening.points.shape[1] // 2
    top, bottom = opening.points[:, :half], opening.points[:, half:]
    measures = {
        "width": np.ptp(opening.points[..., 0], axis=1),
        "corners": -opening.points[:, 0, 1],
        "gap": bottom[:, half // 2, 1] - top[:, half // 2, 1],
        "lips": np.ptp(upper.points[:, half // 2 :: half, 1], axis=1)
        + np.ptp(lower.points[:, half // 2 :: half, 1], axis=1),
        "upper": -upper.points[:, half // 2, 1],
    }
    return {name: float(value[1] - value[0]) for name, value in measures.items()}


def test_the_mouth_goes_where_its_units_pull() -> None:
    smile = mouth_shape(AU12=1.0)
    assert smile["corners"] > 0.05 and smile["width"] > 0.05
    assert mouth_shape(AU15=1.0)["corners"] < -0.05
    assert mouth_shape(AU10=1.0)["upper"] > 0.03
    assert mouth_shape(AU23=1.0)["width"] < -0.1
    assert mouth_shape(AU23=1.0)["lips"] < -0.03
    assert mouth_shape(AU24=1.0)["lips"] < -0.03
    assert 0.03 < mouth_shape(AU25=1.0)["gap"] < mouth_shape(AU26=1.0)["gap"]
    skull = head.skull(clean(0), np.array([0.0, 0.16]))[-1].points
    middle = np.flatnonzero((np.abs(skull[0, :, 0]) < 1e-9) & (skull[0, :, 1] > 0))
    assert len(middle) == 1
    assert np.diff(skull[:, middle[0], 1])[0] == pytest.approx(0.16)


def test_lids_narrow_and_shut_the_eye() -> None:
    def aperture(motion: Motion, **units: float) -> float:
        white = face_parts.eye(clean(0), shown(**units), motion, 1.0)[0].points
        height = np.ptp(white[..., 1], axis=1)
        return float(height[1] / height[0])

    rest = still(np.zeros((2, 12)))
    assert aperture(rest, AU7=1.0) < 0.7
    assert aperture(rest, AU6=1.0) < 0.8
    second = np.array([0.0, 1.0])
    assert aperture(still(np.zeros((2, 12)), widen=second)) > 1.2
    assert aperture(still(np.zeros((2, 12)), blink=second)) < 0.3


def test_units_are_distinguished() -> None:
    rest, *moved = pictures(
        clean(1), still(np.concatenate([np.zeros((1, 12)), np.eye(12)]))
    )
    changes = np.stack([(picture - rest).ravel() for picture in moved])
    changes /= np.linalg.norm(changes, axis=1, keepdims=True)
    likeness = changes @ changes.T - np.eye(12)
    assert likeness.max() < 0.9


def test_intensity_grows_the_change() -> None:
    steps = np.linspace(0, 1, 5)[:, None] * np.eye(12)[ACTION_UNITS.index("AU12")]
    smile = pictures(clean(2), still(steps))
    change = ((smile - smile[0]) ** 2).sum(axis=(1, 2, 3))
    assert np.all(np.diff(change) > 0)


def test_speech_opens_the_mouth_and_a_blink_shuts_the_eyes() -> None:
    motion = still(
        np.zeros((3, 12)), speech=np.array([0, 1.0, 0]), blink=np.array([0, 0, 1.0])
    )
    rest, speaks, blinks = pictures(clean(3), motion)
    spoken, shut = (((p - rest) ** 2).sum(axis=(1, 2)) for p in (speaks, blinks))
    assert spoken[MOUTH].sum() > 0.95 * spoken.sum() > 0
    assert shut[EYES].sum() > 0.75 * shut.sum() > 0


def test_pictures_depend_on_the_person_and_the_source_of_chance_only() -> None:
    rngs = [np.random.default_rng(seed) for seed in (5, 5, 6)]
    looks = [draw_appearance(rng) for rng in rngs]
    motion = still(np.zeros((2, 12)))
    first, again, other = (
        pictures(person, motion, seed)
        for person, seed in zip(looks, (5, 5, 6), strict=True)
    )
    assert first.shape == (2, 96, 96, 3)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 10


def test_faces_have_every_skin_and_light() -> None:
    people = [draw_appearance(np.random.default_rng(seed)) for seed in range(60)]
    skins = np.array([person.skin.mean() for person in people])
    assert skins.min() < 100 < 190 < skins.max()
    assert {person.glasses for person in people} == {0.0, 1.0}
    assert any(person.beard for person in people)
    assert any(not person.volume for person in people)


def test_a_spline_runs_through_its_points() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 7))
    for closed in (False, True):
        line = curves.curve(*zip(x, y, strict=True), closed=closed)
        assert line.shape == (7, 30 if closed else 25, 2)
        np.testing.assert_allclose(line[:, ::6][:, :5, 0], x.T, atol=1e-12)
        np.testing.assert_allclose(line[:, ::6][:, :5, 1], y.T, atol=1e-12)


def test_a_stroke_is_as_thick_as_asked_in_its_middle() -> None:
    line = curves.points((0, 0), (1, 0), (2, 0))
    area = curves.stroke(line, np.array([0.5]))
    assert np.ptp(area[..., 1]) == pytest.approx(0.5)
