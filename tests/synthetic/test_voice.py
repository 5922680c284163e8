import numpy as np
import pytest

from abaw_jax.synthetic.voice import (
    Speech,
    Voice,
    draw_speech,
    draw_voice,
    opening,
    synthesize,
)

VOICE = Voice(pitch=120.0, tract=1.0, level=1.0, tempo=1.0, hiss=0.0)
FPS = 15


def speak(arousal: float, seed: int = 0, seconds: int = 60) -> Speech:
    rng = np.random.default_rng(seed)
    return draw_speech(VOICE, np.full(seconds * FPS, arousal), fps=FPS, rng=rng)


def test_arousal_raises_pitch_level_and_tempo() -> None:
    calm, excited = speak(-1.0), speak(1.0)
    octaves = np.log2(np.median(excited.pitch) / np.median(calm.pitch))
    assert octaves == pytest.approx(1.2, abs=0.1)
    decibels = 20 * np.log10(np.median(excited.loudness) / np.median(calm.loudness))
    assert decibels == pytest.approx(20, abs=1.5)
    assert len(excited.start) > 2.5 * len(calm.start)
    assert excited.pressed.mean() > calm.pressed.mean() + 0.5


def test_syllables_follow_one_another_and_end_in_time() -> None:
    speech = speak(0.3, seconds=20)
    ends = speech.start + speech.length
    assert np.all(speech.start[1:] >= ends[:-1])
    assert ends[-1] < 20


@pytest.mark.parametrize("sample_rate", [22050, 44100, 48000])
def test_the_sound_has_the_pitch_and_place_of_the_script(sample_rate: int) -> None:
    one = Speech(
        start=np.array([0.5]),
        length=np.array([0.4]),
        loudness=np.array([0.3]),
        pitch=np.array([150.0]),
        pressed=np.array([0.5]),
        vowel=np.array([0]),
    )
    sound = synthesize(
        VOICE, one, seconds=1.5, sample_rate=sample_rate, rng=np.random.default_rng(0)
    )
    assert sound.shape == (round(1.5 * sample_rate),)
    assert sound.dtype == np.float32
    loud = np.flatnonzero(np.abs(sound) > 0.02) / sample_rate
    assert 0.5 <= loud[0] < 0.6
    assert 0.8 < loud[-1] < 0.93
    middle = sound[int(0.6 * sample_rate) : int(0.8 * sample_rate)].astype(np.float64)
    echo = np.correlate(middle, middle, "full")[len(middle) :]
    low, high = sample_rate // 250, sample_rate // 80
    period = (np.argmax(echo[low:high]) + low + 1) / sample_rate
    assert 1 / period == pytest.approx(150, rel=0.04)  # the melody wavers by 3 %


def test_the_voice_hisses_as_loudly_as_set() -> None:
    voice = Voice(pitch=120.0, tract=1.0, level=1.0, tempo=1.0, hiss=0.01)
    silence = Speech(*np.zeros((5, 0)), vowel=np.zeros(0, int))
    rng = np.random.default_rng(0)
    sound = synthesize(voice, silence, seconds=2, sample_rate=22050, rng=rng)
    assert sound.std() == pytest.approx(0.01, rel=0.03)


def test_the_mouth_opens_with_syllables_and_shuts_between() -> None:
    speech = speak(0.0)
    middle = speech.start + speech.length / 2
    np.testing.assert_allclose(opening(speech, middle), 1.0)
    between = speech.start[1:] - 1e-3
    np.testing.assert_allclose(opening(speech, between), 0.0)
    nobody = Speech(*np.zeros((5, 0)), vowel=np.zeros(0, int))
    np.testing.assert_array_equal(opening(nobody, np.arange(3.0)), np.zeros(3))


def test_voices_differ_and_repeat() -> None:
    voices = [draw_voice(np.random.default_rng(seed)) for seed in range(40)]
    assert voices[7] == draw_voice(np.random.default_rng(7))
    pitches = np.array([voice.pitch for voice in voices])
    assert pitches.min() < 120 < 180 < pitches.max()
