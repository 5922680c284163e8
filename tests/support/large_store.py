"""A store of Aff-Wild2's size that takes a second and no room.

Manifest, frame numbers and labels are whole; crops and sound are sparse files, which
have a length but no blocks on the disk until someone writes to them.
"""

import dataclasses
from pathlib import Path

import numpy as np

from abaw_jax.releases.labels import Labels
from abaw_jax.store.files import describe_file, json_bytes, label_file
from abaw_jax.store.reader import MANIFEST, STORE_VERSION

FRAMES, SUBJECTS = 2_660_000, 564
RATE, FPS, SIZE = 22_050, 30.0, 112
LABELLED = {
    "va": (1_555_919, 338_755),
    "expr": (585_317, 280_532),
    "au": (1_356_861, 445_836),
    "mtl": (142_225, 26_876),
}
"""Labelled frames of each set's training and validation part in ABAW3."""


def write_large_store(root: Path, *, divisor: int = 1) -> Path:
    """Writes a store of one ``divisor``-th of the real size into ``root``."""
    rng = np.random.default_rng(0)
    shares = rng.lognormal(0, 0.8, -(-SUBJECTS // divisor))
    lengths = rng.multinomial(FRAMES // divisor, shares / shares.sum())
    frames, subjects = [], []
    for index, length in enumerate(lengths):
        # Once in 500 frames the face is lost for twenty.
        steps = np.where(rng.random(length) < 0.002, 20, 1)
        frames.append(np.cumsum(steps).astype(np.int32))
        subjects.append(_write_subject(root, f"s{index:03d}", frames[-1]))
    frame = np.concatenate(frames)
    subject = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    for name, counts in LABELLED.items():
        train, validation = (count // divisor for count in counts)
        for split, part in (
            ("train", slice(train)),
            ("validation", slice(-validation, None)),
        ):
            _write_labels(root, name, split, subject[part], frame[part], rng)
    manifest = {
        "version": STORE_VERSION,
        "images": "pixels",
        "tests": [],
        "image_size": SIZE,
        "sample_rate": RATE,
        "subjects": subjects,
        "files": {
            path.relative_to(root).as_posix(): _describe(path)
            for path in sorted(root.rglob("*.npy"))
        },
    }
    (root / MANIFEST).write_bytes(json_bytes(manifest))
    return root


def _write_subject(root: Path, name: str, numbers: np.ndarray) -> dict:
    """One subject, alone in its video; returns its entry in the manifest."""
    folder = root / "subjects" / name
    folder.mkdir(parents=True)
    np.save(folder / "numbers.npy", numbers)
    last = int(numbers[-1])
    _write_holes(folder / "frames.npy", (len(numbers), SIZE, SIZE, 3), np.uint8)
    (root / "sound").mkdir(exist_ok=True)
    _write_holes(root / f"sound/{name}.npy", (round(last / FPS * RATE),), np.int16)
    facts = {"name": name, "video": name, "fps": FPS}
    return facts | {"num_frames": last, "num_images": len(numbers)}


def _describe(path: Path) -> dict | None:
    """As in a manifest; crops and sound are too many to be read here."""
    if path.name == "frames.npy" or path.parent.name == "sound":
        return {"bytes": path.stat().st_size, "sha256": "0" * 64}
    return describe_file(path)


def _write_holes(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    """A ``.npy`` file of zeros none of which is on the disk."""
    np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _write_labels(
    root: Path,
    name: str,
    split: str,
    subject: np.ndarray,
    frame: np.ndarray,
    rng: np.random.Generator,
) -> None:
    rows = len(frame)
    asked = {task: name in (task, "mtl") for task in ("va", "expr", "au")}
    labels = Labels(
        subject=subject,
        frame=frame,
        va=rng.uniform(-1, 1, (rows, 2)).astype(np.float32) * asked["va"],
        va_where=np.full(rows, asked["va"]),
        expr=rng.integers(0, 8, rows, np.int32) * asked["expr"],
        expr_where=np.full(rows, asked["expr"]),
        au=rng.integers(0, 2, (rows, 12), np.uint8) * asked["au"],
        au_where=np.full((rows, 12), asked["au"]),
    )
    for field in dataclasses.fields(labels):
        path = root / label_file(name, split, field.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, getattr(labels, field.name))
