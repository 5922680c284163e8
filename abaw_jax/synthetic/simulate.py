"""Simulates the scenes of a synthetic release: appearance, behaviour and labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abaw_jax.synthetic import behaviour, voice
from abaw_jax.synthetic.appearance import Appearance, draw_appearance
from abaw_jax.synthetic.plan import Person, SyntheticSettings, Video, stream


class Scene(NamedTuple):
    """One person through one video of F frames.

    Attributes:
      person: who.
      looks: what the person looks like.
      voice: what the person sounds like.
      performance: what happens.
      ratings: what annotators make of it.
      present: ``[F]`` bool, whether the frame has a crop.
    """

    person: Person
    looks: Appearance
    voice: voice.Voice
    performance: behaviour.Performance
    ratings: behaviour.Ratings
    present: NDArray[np.bool_]


def play(
    video: Video, person: Person, settings: SyntheticSettings, *, seed: int
) -> Scene:
    """Plays one person's part; takes milliseconds and draws nothing.

    Args:
      video: where the person appears.
      person: who.
      settings: of the release.
      seed: of the release.

    Returns:
      The scene, the same for the same arguments.
    """
    rng = stream(seed, person.name, "scene")
    looks, speaker = draw_appearance(rng), voice.draw_voice(rng)
    performance = behaviour.perform(
        person.cards, speaker, count=video.num_frames, fps=video.fps, rng=rng
    )
    ratings = behaviour.annotate(
        performance, fps=video.fps, noise=settings.label_noise, rng=rng
    )
    turned = behaviour.drift(rng, video.num_frames, seconds=0.4, fps=video.fps)
    present = turned <= np.quantile(turned, 1 - settings.missing_faces)
    return Scene(person, looks, speaker, performance, ratings, present)


def simulate_all(
    videos: Sequence[Video], settings: SyntheticSettings, *, seed: int
) -> dict[str, Scene]:
    """Plays every part of every video.

    Args:
      videos: the plan.
      settings: of the release.
      seed: of the release.

    Returns:
      Scenes by the name of their person.
    """
    return {
        person.name: play(video, person, settings, seed=seed)
        for video in videos
        for person in video.people
    }
