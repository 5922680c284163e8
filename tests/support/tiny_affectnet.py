"""AffectNet in both layouts, small enough to know by heart.

Each photograph has a face of one colour in a grey surround; red is 20 times its
number. Row 3 of training is no face, row 4 contempt, row 5 has an expression alone, row
6 no expression but valence and arousal, and of row 7 there is no image. COUNTS is what
a reader must find: frames, labels without image, invalid labels.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.tiny_release import write_lines

SIZE = 16
HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    "expression,valence,arousal"
)
LANDMARKS = ";".join(f"{k}.5" for k in range(136))
BOX, NO_BOX = "30,10,20,24", "NULL,NULL,-1,-1"
# Number, code of the expression, valence, arousal.
TRAIN = (
    (1, 0, 0.1, -0.1),
    (2, 1, 0.2, -0.2),
    (3, 10, -2, -2),
    (4, 7, 0.4, -0.4),
    (5, 6, -2, -2),
    (6, 8, 0.6, -0.6),
    (7, 2, 0.7, -0.7),
)
VALIDATION = ((8, 4, 0.8, -0.8), (9, 5, 0.9, -0.9), (10, 3, 1.0, -1.0))
MISSING = 7
COUNTS = {
    "va train": (1, 4, 1, 2),
    "va validation": (1, 3, 0, 0),
    "expr train": (1, 3, 1, 3),
    "expr validation": (1, 3, 0, 0),
}
IMAGES = 8  # row 3 has nothing to learn from and is not stored


def colour(number: int) -> tuple[int, int, int]:
    return number * 20, 100, 255 - number * 20


def write_lists(root: Path) -> Path:
    """Lists and photographs, with a face of 20 by 24 pixels at (30, 10)."""
    for name, rows in (("training", TRAIN), ("validation", VALIDATION)):
        lines = [
            f"{place(n)},{BOX if code < 9 else NO_BOX},{LANDMARKS},"
            f"{code},{valence},{arousal}"
            for n, code, valence, arousal in rows
        ]
        folder = root / "Manually_Annotated_file_lists"
        write_lines(folder / f"{name}.csv", [HEADER, *lines])
        for number, *_ in rows:
            if number != MISSING:
                write_photograph(root / "Manually_Annotated_Images" / place(number))
    return root


def place(number: int) -> str:
    return f"{100 + number % 3}/{number:08x}.jpg"


def write_photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (80, 60), (128, 128, 128))
    image.paste(colour(int(path.stem, 16)), (30, 10, 50, 34))
    image.save(path, quality=98, subsampling=0)


def write_sets(root: Path) -> Path:
    """Faces cut out; numbers as strings, as bytes, or as they are."""
    for split, rows in (("train_set", TRAIN), ("val_set", VALIDATION)):
        images, annotations = (root / split / n for n in ("images", "annotations"))
        images.mkdir(parents=True)
        annotations.mkdir()
        for number, *values in rows:
            if number != MISSING:
                image = Image.new("RGB", (SIZE, SIZE), colour(number))
                image.save(images / f"{number}.jpg", quality=95)
            for kind, value in zip(("exp", "val", "aro"), values, strict=True):
                array = np.array((str(value), str(value).encode(), value)[number % 3])
                np.save(annotations / f"{number}_{kind}.npy", array)
            np.save(annotations / f"{number}_lnd.npy", np.zeros((68, 2)))
    return root
