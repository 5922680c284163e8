"""Plans a synthetic release: videos, people, and the sets that label them.

A plan, drawn from settings and a seed alone; nothing here touches the disk. Sets take
their people in the proportions of the third ABAW challenge, one after the other round
the company, so that most people have one task, some two, and few all.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from abaw_jax.synthetic.behaviour import EPISODE_SECONDS, EXPRESSION_SHARES
from abaw_jax.tasks import SPLITS

_RATES = {
    "train": {"va": 0.45, "expr": 0.33, "au": 0.39, "mtl": 0.34},
    "validation": {"va": 0.60, "expr": 0.60, "au": 0.90, "mtl": 0.42},
}
"""Share of a split's people in each set, in the ratio of the counted videos of ABAW3:
341 : 248 : 295 : 257 in training, 71 : 70 : 105 : 50 in validation. In training their
sum stays near 1, for most frames of the corpus have labels of one task."""

_SOUND = ((44100, 2), (48000, 1), (22050, 2), (48000, 2), (44100, 1))


@dataclass(frozen=True)
class SyntheticSettings:
    """Settings of a synthetic release.

    Attributes:
      train_subjects: people in the training sets.
      validation_subjects: other people, in the validation sets.
      seconds: length of a video; frames need ten seconds of sound before them to be
        trained on.
      fps: frames per second of most videos.
      crop_size: side of the face crops in pixels.
      video_size: width and height of the videos, even numbers.
      label_noise: how wrong annotators are, see `behaviour.annotate`.
      missing_faces: share of the frames without a crop.
      quirks: whether to reproduce the irregularities of the official release: two
        people in a video, other frame rates and containers, annotation files longer or
        shorter than their video, duplicate rows, rows without image, carriage returns,
        blank lines, a set of tests without labels, and a person who is both in a
        training and a validation set.
    """

    train_subjects: int = 34
    validation_subjects: int = 14
    seconds: float = 24.0
    fps: int = 15
    crop_size: int = 80
    video_size: tuple[int, int] = (96, 72)
    label_noise: float = 0.1
    missing_faces: float = 0.04
    quirks: bool = True

    def __post_init__(self) -> None:
        for name in ("train_subjects", "validation_subjects"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, not at least 1")
        if self.seconds < 2 or self.fps < 1:
            raise ValueError(
                f"{self.seconds} s at {self.fps} fps: a video needs at least 2 s, 1 fps"
            )
        if not 16 <= self.crop_size <= 1024:
            raise ValueError(f"crop_size is {self.crop_size}, not in 16 to 1024")
        if any(side < 16 or side % 2 for side in self.video_size):
            raise ValueError(f"video_size {self.video_size}: sides even, at least 16")
        for name in ("label_noise", "missing_faces"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise ValueError(f"{name} is {getattr(self, name)}, not in 0 to 0.5")


@dataclass(frozen=True)
class Person:
    """One subject: a folder of crops, and a file in every set.

    Attributes:
      name: the folder; the video's name, perhaps with ``_left`` or ``_right``.
      number: counts all people from 0.
      sets: pairs of set and split that label this person.
      cards: the expression of each episode.
    """

    name: str
    number: int
    sets: tuple[tuple[str, str], ...]
    cards: tuple[int, ...]


@dataclass(frozen=True)
class Video:
    """One video file; one or two people.

    Attributes:
      name: file name without extension.
      extension: ``.mp4`` or ``.avi``.
      batch: folder, ``batch1`` or ``batch2``.
      fps: frames per second.
      num_frames: frames in the file.
      sample_rate: of the sound track.
      channels: of the sound track, 1 or 2.
      people: from left to right.
    """

    name: str
    extension: str
    batch: str
    fps: int
    num_frames: int
    sample_rate: int
    channels: int
    people: tuple[Person, ...]


def stream(seed: int, *names: str) -> np.random.Generator:
    """Returns a random generator that depends on the seed and the names alone."""
    return np.random.default_rng([seed, *(zlib.crc32(n.encode()) for n in names)])


def draw_plan(settings: SyntheticSettings, *, seed: int) -> tuple[Video, ...]:
    """Plans a release.

    Args:
      settings: what to draw.
      seed: the only source of chance.

    Returns:
      The videos, training before validation.
    """
    videos: list[Video] = []
    for split in SPLITS:
        count = getattr(settings, f"{split}_subjects")
        sets = _memberships(count, split, stream(seed, split, "sets"))
        if settings.quirks and split == "validation":
            _add_shared_videos(sets)
        hands = _draw_expressions(settings, sets, stream(seed, split, "cards"))
        people = zip(sets, hands, strict=True)
        first = 0 if split == "train" else settings.train_subjects
        for reel in _reels(settings, split, first):
            videos.append(_film(settings, reel, people, videos, seed))
    if settings.quirks:  # a person of the test set: crops, but no label anywhere
        reel = _Reel("250", ".mp4", settings.fps, ("",))
        people = iter([([], tuple(EXPRESSION_SHARES[:2]))])
        short = replace(settings, seconds=min(6.0, settings.seconds))
        videos.append(_film(short, reel, people, videos, seed))
    return tuple(videos)


class _Reel(NamedTuple):
    name: str
    extension: str
    fps: int
    suffixes: tuple[str, ...]


def _reels(settings: SyntheticSettings, split: str, first: int) -> Iterator[_Reel]:
    """Names of a split's videos; the odd ones are the official release's own."""
    left = getattr(settings, f"{split}_subjects")
    size = "{}x{}".format(*settings.video_size)
    both, fps = ("_left", "_right"), settings.fps
    odd = {
        "train": [
            (3, _Reel("video10_1", ".mp4", fps, both)),
            (5, _Reel("122", ".avi", fps, ("",))),
            (8, _Reel(f"135-24-{size}", ".mp4", 24, both)),
        ],
        "validation": [
            (3, _Reel("video59", ".mp4", fps, ("", "_right"))),
            (6, _Reel(f"86-30-{size}", ".mp4", 30, ("",))),
        ],
    }[split]
    wanted = left
    for needed, reel in odd if settings.quirks else []:
        if wanted >= needed:
            yield reel
            left -= len(reel.suffixes)
    for number in range(200 + first, 200 + first + left):
        name = f"video{number}" if number % 2 else f"{number}-{fps}-{size}"
        yield _Reel(name, ".mp4", fps, ("",))


def _film(
    settings: SyntheticSettings,
    reel: _Reel,
    people: Iterator[tuple[list[tuple[str, str]], tuple[int, ...]]],
    videos: list[Video],
    seed: int,
) -> Video:
    rng = stream(seed, reel.name, "film")
    number = sum(len(video.people) for video in videos)
    sample_rate, channels = _SOUND[len(videos) % len(_SOUND)]
    cast = []
    for suffix, (sets, cards) in zip(reel.suffixes, people, strict=False):
        name = reel.name + suffix
        cast.append(Person(name, number + len(cast), tuple(sets), cards))
    return Video(
        name=reel.name,
        extension=reel.extension,
        batch=f"batch{1 + len(videos) % 2}",
        fps=reel.fps,
        num_frames=round(settings.seconds * reel.fps) + int(rng.integers(reel.fps)),
        sample_rate=sample_rate,
        channels=channels,
        people=tuple(cast),
    )


def _memberships(
    count: int, split: str, rng: np.random.Generator
) -> list[list[tuple[str, str]]]:
    """Assigns people to sets: each takes its share after the one before, MTL of all."""
    sets: list[list[tuple[str, str]]] = [[] for _ in range(count)]
    circle, place = rng.permutation(count), 0
    for name, rate in _RATES[split].items():
        members = max(1, round(rate * count))
        if name == "mtl":
            circle = rng.permutation(count)
        for step in range(place, place + members):
            sets[circle[step % count]].append((name, split))
        place += members
    return sets


def _add_shared_videos(sets: list[list[tuple[str, str]]]) -> None:
    """Puts a person of the VA validation set into MTL training, as ABAW3 does."""
    for person in sets:
        if ("va", "validation") in person and ("mtl", "validation") not in person:
            person.append(("mtl", "train"))
            return


def _draw_expressions(
    settings: SyntheticSettings,
    sets: list[list[tuple[str, str]]],
    rng: np.random.Generator,
) -> list[tuple[int, ...]]:
    """Expressions of every person's episodes, from shuffled decks.

    People with expression labels draw first and the last episodes first, because frames
    of the first ten seconds are not trained on: what counts holds all expressions.
    """
    episodes = max(2, round(settings.seconds / EPISODE_SECONDS))
    hands: list[list[int]] = [[] for _ in sets]
    deck: list[int] = []
    labelled = [any(name == "expr" for name, _ in person) for person in sets]
    for group in (True, False):
        members = [i for i, flag in enumerate(labelled) if flag is group]
        for _ in range(episodes):
            for person in members:
                if len(deck) < len(EXPRESSION_SHARES):
                    deck += rng.permutation(EXPRESSION_SHARES).tolist()
                after = hands[person][0] if hands[person] else None
                card = next(i for i, card in enumerate(deck) if card != after)
                hands[person].insert(0, deck.pop(card))
    return [tuple(hand) for hand in hands]
