"""A release small enough to know by heart: four faces, twelve frames each.

alpha and gamma10_1 are alone in their videos, beta_left and beta_right share one; frame
5 of alpha has no crop; gamma10_1 alone validates, so nothing overlaps. COUNTS is what
a reader must find: frames, labels without image, invalid labels.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from abaw_jax.releases.findings import Report

FPS, FRAMES, SIZE = 10, 12, 16
EXPR_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AU_HEADER = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
MTL_HEADER = "image,valence,arousal,expression,aus"
VA = "annotations/VA_Estimation_Challenge"
EXPR = "annotations/EXPR_Classification_Challenge"
AU = "annotations/AU_Detection_Challenge"
MTL = "annotations/MTL_Challenge"
COUNTS = {
    "va train": (1, 11, 2, 0),  # one line more than frames, frame 5 without crop
    "va validation": (1, 11, 0, 1),  # line 3 is -5
    "expr train": (1, 11, 0, 1),
    "expr validation": (1, 12, 0, 0),
    "au train": (1, 11, 0, 1),
    "au validation": (1, 12, 0, 0),
    "mtl train": (2, 3, 1, 1),
    "mtl validation": (1, 2, 0, 0),
}
IMAGES = 47


def write_release(root: Path) -> Path:
    """Writes the release into ``root``."""
    write_video(root / "batch1/alpha.mp4")
    write_video(root / "batch2/beta.avi", rate=16_000, channels=1)
    write_video(root / "batch2/gamma10_1.mp4", rate=None)
    crops = root / "cropped_aligned"
    write_crops(crops / "alpha", [k for k in range(1, FRAMES + 1) if k != 5])
    for name in ("beta_left", "beta_right", "gamma10_1"):
        write_crops(crops / name, range(1, FRAMES + 1))
    every = range(FRAMES)
    valence = ["valence,arousal", *(f"{k / 20},{-k / 20}" for k in range(FRAMES + 1))]
    write_lines(root / VA / "Train_Set/alpha.txt", valence)
    valence = ["valence,arousal", *(f"{k / 20},0.5" for k in every)]
    valence[3] = "-5,-5"
    write_lines(root / VA / "Validation_Set/gamma10_1.txt", valence)
    classes = [EXPR_HEADER, *(str(k % 8) for k in every)]
    write_lines(root / EXPR / "Validation_Set/gamma10_1.txt", classes)
    classes[1] = "-1"
    write_lines(root / EXPR / "Train_Set/beta_left.txt", classes)
    units = [AU_HEADER, *(",".join(str((k + u) % 2) for u in range(12)) for k in every)]
    write_lines(root / AU / "Validation_Set/gamma10_1.txt", units)
    units[1] = ",".join(["-1"] * 12)
    units[2] = ",".join(["1", *["-1"] * 11])
    write_lines(root / AU / "Train_Set/beta_right.txt", units)
    ones, none = ",".join(["1"] * 12), ",".join(["-1"] * 12)
    rows = [
        MTL_HEADER,
        f"alpha/00001.jpg,0.1,0.2,3,{ones}",
        f"alpha/00002.jpg,-5,-5,-1,{ones}",
        f"alpha/00003.jpg,-5,-5,-1,{none}",
        f"alpha/00005.jpg,0.1,0.2,3,{ones}",
        f"beta_left/00001.jpg,-0.5,0.5,-1,{none}",
    ]
    write_lines(root / MTL / "train_set.txt", rows)
    rows = [f"gamma10_1/0000{k}.jpg,0.{k},0.1,{k},{ones}" for k in (1, 2)]
    write_lines(root / MTL / "validation_set.txt", [MTL_HEADER, *rows])
    return root


def write_lines(path: Path, lines: Iterable[str], *, end: str = "\n") -> None:
    """Writes a text file, byte for byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def write_crops(folder: Path, numbers: Iterable[int]) -> None:
    """Writes a crop for each frame: one colour that tells its number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = Image.new("RGB", (SIZE, SIZE), (number * 20, 100, 255 - number * 20))
        image.save(folder / f"{number:05d}.jpg", quality=95)


def write_video(
    path: Path,
    *,
    frames: int = FRAMES,
    fps: int = FPS,
    rate: int | None = 44_100,
    channels: int = 2,
    loudness: float = 0.5,
    delay: float = 0.0,
    seconds: float | None = None,
    title: str = "",
) -> None:
    """Writes a video, with a tone of 440 Hz unless ``rate`` is None.

    The second channel is silent, so a mean of both is half as loud as the first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = frames / fps if seconds is None else seconds
    with av.open(str(path), "w") as container:
        container.metadata["title"] = title
        if frames:
            pictures = container.add_stream("mpeg4", rate=fps)
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        if rate:
            layout = "mono" if channels == 1 else "stereo"
            codec = "aac" if path.suffix == ".mp4" else "pcm_s16le"
            track = container.add_stream(codec, rate=rate, layout=layout)
        for number in range(frames):
            pixels = np.full((32, 32, 3), 20 * number % 256, np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(pictures.encode(picture))
        if frames:
            container.mux(pictures.encode())
        if rate:
            tone = tone_of(seconds, rate, loudness)
            for start in range(0, len(tone), 1024):
                block = np.zeros((len(tone[start : start + 1024]), channels), np.int16)
                block[:, 0] = tone[start : start + 1024]
                sound = av.AudioFrame.from_ndarray(
                    block.reshape(1, -1), format="s16", layout=layout
                )
                sound.sample_rate = rate
                sound.pts = start + round(delay * rate)
                sound.time_base = Fraction(1, rate)
                container.mux(track.encode(sound))
            container.mux(track.encode())


def tone_of(seconds: float, rate: int, loudness: float) -> np.ndarray:
    """The tone that ``write_video`` writes, int16 ``[n]``; clipped at full scale."""
    time = np.arange(round(seconds * rate)) / rate
    tone = np.clip(loudness * np.sin(2 * np.pi * 440 * time), -1, 1)
    return np.round(32767 * tone).astype(np.int16)


def counts_of(report: Report) -> dict[str, tuple[int, ...]]:
    """Counts of a report in the form of ``COUNTS``."""
    return {
        f"{name} {split}": (
            counts.subjects,
            counts.frames,
            counts.labels_without_image,
            counts.invalid_labels,
        )
        for name, splits in report.sets.items()
        for split, counts in splits.items()
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file below a folder, by name."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
