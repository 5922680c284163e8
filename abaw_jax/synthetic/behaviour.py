"""Simulates affect, expressions and speech of a video, and its annotators.

Feelings are smooth in time: episodes, one expression each, pull valence and arousal
toward their place in the affect plane, and a slower drift adds to both. The face shows
the expression through action-unit prototypes and much of the valence; of the arousal's
drift it shows little, and the voice all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abaw_jax.synthetic.appearance import Motion
from abaw_jax.synthetic.voice import Speech, Voice, draw_speech, opening
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS

Floats = NDArray[np.floating]

EPISODE_SECONDS = 4.0
"""Mean length of an episode, the time one expression lasts."""

EXPRESSION_SHARES = tuple(
    EXPRESSIONS.index(name)
    for name, cards in (
        ("Neutral", 3),
        ("Anger", 1),
        ("Disgust", 1),
        ("Fear", 1),
        ("Happiness", 2),
        ("Sadness", 1),
        ("Surprise", 1),
        ("Other", 2),
    )
    for _ in range(cards)
)
"""Expressions as cards: imbalanced as in Aff-Wild2, yet no deck lacks one."""


class _Prototype(NamedTuple):
    """Action units of an expression and its place in the affect plane."""

    valence: float
    arousal: float
    widen: float
    units: dict[str, float]


_PROTOTYPES = {
    "Neutral": _Prototype(0.0, -0.1, 0.0, {}),
    "Anger": _Prototype(
        -0.55, 0.5, 0.2, {"AU4": 0.9, "AU7": 0.8, "AU23": 0.9, "AU24": 0.3}
    ),
    "Disgust": _Prototype(
        -0.6, 0.1, -0.1, {"AU4": 0.5, "AU7": 0.5, "AU10": 0.95, "AU15": 0.35}
    ),
    "Fear": _Prototype(
        -0.6, 0.55, 0.9,
        {"AU1": 0.9, "AU2": 0.4, "AU4": 0.7, "AU25": 0.8, "AU26": 0.25},
    ),
    "Happiness": _Prototype(
        0.7, 0.3, 0.0, {"AU6": 0.85, "AU7": 0.4, "AU10": 0.3, "AU12": 0.95, "AU25": 0.7}
    ),
    "Sadness": _Prototype(-0.65, -0.4, -0.35, {"AU1": 0.7, "AU4": 0.5, "AU15": 0.85}),
    "Surprise": _Prototype(
        0.15, 0.55, 1.0, {"AU1": 0.8, "AU2": 0.9, "AU25": 0.8, "AU26": 0.9}
    ),
    "Other": _Prototype(
        0.0, 0.0, 0.0, {"AU2": 0.3, "AU7": 0.6, "AU12": 0.35, "AU24": 0.85}
    ),
}  # fmt: skip

_BACKGROUND = dict(AU1=0.03, AU2=0.02, AU4=0.06, AU6=0.08, AU7=0.16, AU10=0.16)
_BACKGROUND |= dict(AU12=0.08, AU15=0.02, AU23=0.03, AU24=0.02, AU25=0.15, AU26=0.04)
"""Share of the time that a unit moves for no reason."""

_SHOWN = 0.42
"""Intensity from which an annotator notices an action unit."""


class Performance(NamedTuple):
    """The truth behind a video of F frames.

    Attributes:
      va: ``[F, 2]`` valence and arousal in ``[-1, 1]``.
      episode: ``[F]`` int, ascending from 0.
      expression: ``[F]`` int, the expression of the episode.
      strength: ``[F]`` in ``[0, 1]``, how far the episode has unfolded.
      motion: what the face does.
      speech: what the voice says.
    """

    va: Floats
    episode: NDArray[np.integer]
    expression: NDArray[np.integer]
    strength: Floats
    motion: Motion
    speech: Speech


@dataclass(frozen=True)
class Ratings:
    """Labels of the annotators, one row per frame of the video.

    Attributes:
      va: ``[F, 2]`` with three decimals, or -5 in both.
      va: ``[F, 2]`` with three decimals.
      expr: ``[F]`` class.
      plain: ``[F]`` bool, False where the expression is half unfolded or doubtful.
      au: ``[F, 12]`` 0 or 1, or -1 unit by unit.
    """

    va: Floats
    expr: NDArray[np.integer]
    plain: NDArray[np.bool_]
    au: NDArray[np.integer]


def drift(
    rng: np.random.Generator, count: int, *, seconds: float, fps: float
) -> Floats:
    """Smooth noise: white noise seen twice through a decaying memory.

    Args:
      rng: the only source of chance.
      count: number of frames F.
      seconds: memory; the autocorrelation falls to about 1/3 after twice as long.
      fps: frames per second.

    Returns:
      ``[F]`` of unit variance over many draws, not over this one.
    """
    reach = int(8 * seconds * fps)
    lags = np.arange(reach) / (seconds * fps)
    kernel = lags * np.exp(-lags)
    kernel /= np.sqrt((kernel**2).sum())
    size = 1 << (count + 2 * reach).bit_length()
    noise = np.fft.rfft(rng.standard_normal(count + reach), size)
    return np.fft.irfft(noise * np.fft.rfft(kernel, size), size)[reach : reach + count]


def perform(
    cards: Sequence[int],
    voice: Voice,
    *,
    count: int,
    fps: float,
    rng: np.random.Generator,
) -> Performance:
    """Plays episodes of the given expressions.

    Args:
      cards: the expression of each episode, in order.
      voice: the person's voice.
      count: number of frames F.
      fps: frames per second.
      rng: the only source of chance.

    Returns:
      The performance.
    """
    episode, strength = _episodes(len(cards), count, fps, rng)
    expression = np.asarray(cards)[episode]
    prototypes = [_PROTOTYPES[name] for name in EXPRESSIONS]
    pull = np.array([[p.valence, p.arousal] for p in prototypes])[expression]
    pull = pull * (strength * rng.uniform(0.6, 1.1, len(cards))[episode])[:, None]
    moods = rng.normal(0, [0.08, 0.12])
    valence = drift(rng, count, seconds=1.2, fps=fps)
    energy = drift(rng, count, seconds=4.0, fps=fps)
    va = 0.8 * pull * [1.0, 0.9] + moods
    va += np.stack([0.16 * valence, 0.28 * energy], axis=1)
    va = np.clip(va, -1, 1)
    speech = draw_speech(voice, va[:, 1], fps=fps, rng=rng)
    lids = np.array([p.widen for p in prototypes])[expression] * strength
    motion = Motion(
        actions=_actions(episode, expression, strength, va[:, 0], fps, rng),
        widen=np.clip(lids + 0.35 * va[:, 1], -1, 1.2),
        blink=_blinks(count, fps, rng),
        speech=0.8 * opening(speech, np.arange(count) / fps),
        gaze=_wander([0.6, 0.6], count, 0.4, fps, rng),
        pose=_wander([0.10, 0.05, 0.03], count, 1.0, fps, rng)
        + rng.normal(0, [0.08, 0.05, 0.02]),
    )
    return Performance(va, episode, expression, strength, motion, speech)


def annotate(
    performance: Performance, *, fps: float, noise: float, rng: np.random.Generator
) -> Ratings:
    """Rates a performance as people do: late, smoothly wrong, and not everywhere.

    Args:
      performance: what happened.
      fps: frames per second.
      noise: 0 for perfect raters; 0.1 gives valence and arousal an error of standard
        deviation 0.1 and a tenth of the frames a guessed expression, in runs; action
        units flip a little.
      rng: the only source of chance.

    Returns:
      The ratings.
    """
    count = len(performance.va)
    late = np.maximum(np.arange(count) - round(0.2 * fps), 0)
    va = performance.va[late] + _wander([noise, noise], count, 0.7, fps, rng)
    va = np.round(np.clip(va, -1, 1), 3) + 0.0  # no "-0.0"
    episode = performance.episode
    slips = drift(rng, count, seconds=0.5, fps=fps)
    wrong = slips > np.quantile(slips, 1 - noise)
    guess = rng.integers(len(EXPRESSIONS), size=episode[-1] + 1)[episode]
    expr = np.where(wrong, guess, performance.expression)
    doubt = drift(rng, count, seconds=0.3, fps=fps) > 0.7
    plain = (performance.strength > 0.75) & ~doubt
    au = (performance.motion.actions > _SHOWN).astype(int)
    spoken = np.convolve(performance.motion.speech, np.ones(5) / 5, "same")
    au[:, ACTION_UNITS.index("AU25")] |= spoken > 0.3
    for unit in range(au.shape[1]):
        bursts = np.abs(drift(rng, count, seconds=0.3, fps=fps)) > 2.6 - 6 * noise
        au[bursts & (rng.random(count) < noise), unit] ^= 1
        au[drift(rng, count, seconds=0.5, fps=fps) > 2.4, unit] = -1
    return Ratings(va, expr, plain, au)


def _episodes(
    number: int, count: int, fps: float, rng: np.random.Generator
) -> tuple[NDArray[np.integer], Floats]:
    """Index and strength per frame: each episode rises, holds and falls."""
    bounds = np.cumsum(rng.uniform(0.8, 1.2, number))
    bounds = np.round(count * bounds / bounds[-1]).astype(int)
    episode, strength = np.zeros(count, int), np.zeros(count)
    for index, (first, end) in enumerate(zip([0, *bounds[:-1]], bounds, strict=True)):
        rise, fall = rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.8)
        time = np.arange(end - first) / fps
        swing = np.minimum(time / rise, (time[::-1] + 1 / fps) / fall)
        episode[first:end] = index
        strength[first:end] = np.sin(np.pi / 2 * np.clip(swing, 0, 1)) ** 2
    return episode, strength


def _actions(
    episode: NDArray[np.integer],
    expression: NDArray[np.integer],
    strength: Floats,
    valence: Floats,
    fps: float,
    rng: np.random.Generator,
) -> Floats:
    """Prototype, chance and valence together, ``[F, 12]``."""
    table = np.array(
        [[_PROTOTYPES[e].units.get(u, 0.0) for u in ACTION_UNITS] for e in EXPRESSIONS]
    )
    kept = rng.uniform(0.55, 1.15, (episode[-1] + 1, len(ACTION_UNITS)))
    actions = table[expression] * kept[episode] * strength[:, None]
    for unit, name in enumerate(ACTION_UNITS):
        own = drift(rng, len(episode), seconds=0.6, fps=fps)
        edge = np.quantile(own, 1 - _BACKGROUND[name])
        chance = np.clip(1.2 * (own - edge), 0, 0.8)
        actions[:, unit] = np.maximum(actions[:, unit], chance)
    for name, lean in (("AU6", 0.3), ("AU12", 0.5), ("AU4", -0.3), ("AU15", -0.4)):
        actions[:, ACTION_UNITS.index(name)] += np.clip(lean * valence, 0, 0.3)
    rest = rng.uniform(0, 0.12, len(ACTION_UNITS))  # small movements of a neutral face
    return np.clip(actions + rest, 0, 1)


def _wander(
    scales: Sequence[float],
    count: int,
    seconds: float,
    fps: float,
    rng: np.random.Generator,
) -> Floats:
    """Independent drifts of the given standard deviations, ``[F, len(scales)]``."""
    columns = [s * drift(rng, count, seconds=seconds, fps=fps) for s in scales]
    return np.stack(columns, axis=1)


def _blinks(count: int, fps: float, rng: np.random.Generator) -> Floats:
    blink = np.zeros(count)
    for start in np.cumsum(rng.uniform(1.5, 6.0, round(count / fps / 1.5) + 1)):
        first = int(start * fps)
        blink[first : first + max(2, round(0.15 * fps))] = 1
    return blink
