"""Synthesises a voice whose pitch, loudness and tempo rise with arousal.

Speech is a script of syllables, and a syllable a train of glottal pulses; each pulse
adds one short grain, a sum of decaying sinusoids at the formants of the vowel (the
"formant wave function" of Rodet, 1984). Ten seconds are some two thousand additions of
a slice, so a minute of 48 kHz sound takes a fraction of a second in plain NumPy.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

_VOWELS = np.array(
    [
        [730, 1090, 2440],
        [530, 1840, 2480],
        [290, 2300, 3000],
        [570, 840, 2410],
        [320, 870, 2240],
    ],
    np.float64,
)
"""Formants of a, e, i, o, u in hertz (Peterson and Barney, 1952, men)."""

_BANDWIDTHS = np.array([80.0, 110.0, 160.0])
_SOFT, _PRESSED = np.array([1.0, 0.25, 0.06]), np.array([1.0, 0.8, 0.45])
_GRAIN_SECONDS = 0.016


@dataclass(frozen=True)
class Voice:
    """Constant properties of a speaker and the recording.

    Attributes:
      pitch: fundamental frequency in hertz when calm.
      tract: factor on all formants; shorter throats sound higher.
      level: factor on the loudness.
      tempo: factor on the syllables per second.
      hiss: standard deviation of the room's noise, full scale being 1.
    """

    pitch: float
    tract: float
    level: float
    tempo: float
    hiss: float


class Speech(NamedTuple):
    """A script of N syllables: each when, how long, how loud, how high, which vowel.

    Attributes:
      start: ``[N]`` seconds, ascending, without overlap.
      length: ``[N]`` seconds.
      loudness: ``[N]`` amplitude, full scale being 1.
      pitch: ``[N]`` hertz in the middle of the syllable.
      pressed: ``[N]`` in ``[0, 1]``, from a soft to a bright timbre.
      vowel: ``[N]`` int.
    """

    start: Floats
    length: Floats
    loudness: Floats
    pitch: Floats
    pressed: Floats
    vowel: NDArray[np.integer]


def draw_voice(rng: np.random.Generator) -> Voice:
    """Draws a speaker and the recording.

    Args:
      rng: the only source of chance.

    Returns:
      The voice; what differs between voices hides part of what arousal does to one.
    """
    high = rng.random() < 0.5
    return Voice(
        pitch=(190.0 if high else 110.0) * 2 ** rng.normal(0, 0.15),
        tract=(1.16 if high else 1.0) * rng.uniform(0.95, 1.06),
        level=10 ** (rng.normal(0, 4.0) / 20),
        tempo=rng.uniform(0.85, 1.2),
        hiss=10 ** (rng.uniform(-58, -44) / 20),
    )


def draw_speech(
    voice: Voice, arousal: Floats, *, fps: float, rng: np.random.Generator
) -> Speech:
    """Writes the script that a speaker of this arousal follows.

    From -1 to 1 in arousal the pitch rises by 1.2 octaves, the level by 20 dB and the
    tempo from 2.6 to 6.2 syllables a second, while pauses shrink.

    Args:
      voice: the speaker.
      arousal: ``[F]`` in ``[-1, 1]``, one value per frame.
      fps: frames per second.
      rng: the only source of chance.

    Returns:
      The script, which ends before the frames do.
    """
    rows: list[list[float]] = []
    seconds = len(arousal) / fps
    clock, left = rng.uniform(0.0, 0.4), int(rng.integers(4, 12))
    while True:
        excited = float(
            np.clip(arousal[min(int(clock * fps), len(arousal) - 1)], -1, 1)
        )
        length = 0.8 / (voice.tempo * (4.4 + 1.8 * excited)) * rng.uniform(0.75, 1.25)
        if clock + length > seconds - 0.05:
            break
        decibels = 10 * excited - 20 + rng.normal(0, 1.5)
        melody = 0.6 * excited + rng.normal(0, 0.08) + 0.02 * min(left, 6)
        pressed = np.clip(0.5 + 0.5 * excited + rng.normal(0, 0.08), 0, 1)
        loudness = 0.5 * voice.level * 10 ** (decibels / 20)
        pitch = voice.pitch * 2**melody
        vowel = float(rng.integers(len(_VOWELS)))
        rows.append([clock, length, loudness, pitch, float(pressed), vowel])
        clock, left = clock + length * 1.25, left - 1
        if left <= 0:
            clock += rng.uniform(0.6, 1.4) * (0.55 - 0.4 * excited)
            left = int(rng.integers(4, 12))
    columns = np.array(rows, np.float64).reshape(-1, 6).T
    start, length, loudness, pitch, pressed, vowel = columns
    return Speech(start, length, loudness, pitch, pressed, vowel.astype(int))


def opening(speech: Speech, times: Floats) -> Floats:
    """Opening of the mouth by speech.

    Args:
      speech: N syllables.
      times: ``[F]`` seconds, ascending.

    Returns:
      ``[F]`` in ``[0, 1]``: a raised cosine over each syllable, 0 in pauses.
    """
    if not len(speech.start):
        return np.zeros(len(times))
    index = np.clip(np.searchsorted(speech.start, times, "right") - 1, 0, None)
    place = (times - speech.start[index]) / speech.length[index]
    inside = (place >= 0) & (place < 1)
    return np.where(inside, np.sin(np.pi * np.clip(place, 0, 1)) ** 2, 0.0)


def synthesize(
    voice: Voice,
    speech: Speech,
    *,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Speaks the script.

    Args:
      voice: the speaker.
      speech: the script.
      seconds: length of the sound.
      sample_rate: samples per second.
      rng: source of the noise.

    Returns:
      ``[round(seconds * sample_rate)]``, full scale being 1; not clipped.
    """
    sound = voice.hiss * rng.standard_normal(round(seconds * sample_rate), np.float32)
    soft, pressed = (_grains(voice, tilt, sample_rate) for tilt in (_SOFT, _PRESSED))
    for start, length, loudness, pitch, share, vowel in zip(*speech, strict=True):
        grain = loudness * ((1 - share) * soft[vowel] + share * pressed[vowel])
        place = np.arange(0, length, 1 / pitch) / length
        pulses = start + length * (place + 0.02 * np.sin(np.pi * place))
        swell = np.sin(np.pi * place) ** 2
        for first, gain in zip((pulses * sample_rate).astype(int), swell, strict=True):
            room = sound[first : first + len(grain)]
            room += gain * grain[: len(room)]
    return sound


def _grains(voice: Voice, tilt: Floats, sample_rate: int) -> NDArray[np.float32]:
    """One pulse through the throat per vowel, ``[vowels, samples]``, of peak 1."""
    time = np.arange(round(_GRAIN_SECONDS * sample_rate)) / sample_rate
    formants = voice.tract * _VOWELS[:, :, None]
    waves = np.sin(2 * np.pi * formants * time)
    waves *= tilt[:, None] * np.exp(-np.pi * _BANDWIDTHS[:, None] * time)
    attack = 0.5 - 0.5 * np.cos(np.pi * np.clip(time / 0.0008, 0, 1))
    grains = attack * waves.sum(axis=1)
    peak = np.abs(grains).max(axis=1, keepdims=True)
    return (grains / peak).astype(np.float32)
