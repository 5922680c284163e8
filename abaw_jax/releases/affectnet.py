"""Reads AffectNet: photographs with valence, arousal and an expression each.

It is spread in two layouts. One has lists, ``training.csv`` and ``validation.csv``,
with a face box for every photograph; the other has faces already cut out, each with
files ``N_exp.npy``, ``N_val.npy`` and ``N_aro.npy``. Either becomes shards of some
thousand images that stand for a release's subjects.
"""

import csv
import dataclasses
import functools
import io
import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from abaw_jax.releases.affectnet_labels import LABELS, Note, is_labelled, read_labels
from abaw_jax.releases.annotations import Rows, mask_values, quote
from abaw_jax.releases.crops import Crop, ReleaseError, Video, list_entries
from abaw_jax.releases.findings import Findings, SetCounts
from abaw_jax.releases.images import IMAGE_SUFFIXES, Box
from abaw_jax.releases.labels import AllLabels, Source, SplitLabels
from abaw_jax.releases.text_lines import TextLimitError, bounded_lines
from abaw_jax.tasks import SETS, SPLITS

SHARD_SIZE = 4096
"""Images that are packed together: a few minutes of work that a kill can cost."""

_BOX = ("face_x", "face_y", "face_width", "face_height")
_KINDS = ("val", "aro", "exp")  # of files, in the order of LABELS
_IMAGE = "subDirectory_filePath"
_LISTS = {
    "train": re.compile(r"train|automatic", re.IGNORECASE),
    "validation": re.compile(r"valid", re.IGNORECASE),
}
_SETS = {
    "train": re.compile(r"train", re.IGNORECASE),
    "validation": re.compile(r"val", re.IGNORECASE),
}
_SCALAR = 1024  # bytes; a file of one value has less than 200
_PROBED = 2000  # rows of a list by which the folder of its images is found

_UNLABELLED = (math.nan, math.nan, math.nan)


class Face(NamedTuple):
    """One row: where its image is, and its labels, NaN where there is none."""

    image: str
    box: Box | None
    values: tuple[float, float, float]  # as LABELS


@dataclasses.dataclass(frozen=True)
class Shard:
    """Faces that are packed together; numbered from 1 as frames are.

    Attributes:
      name: such as train-00000.
      split: "train" or "validation".
      folder: in which the images are.
      images: of every face, below the folder.
      boxes: of every face.
      values: float64 ``[N, 3]``, valence, arousal and expression, NaN if missing.
      aligned: always False; images may be of any size.
    """

    name: str
    split: str
    folder: Path
    images: tuple[str, ...]
    boxes: tuple[Box | None, ...]
    values: np.ndarray
    aligned: bool = False

    def crops(self, findings: Findings) -> list[Crop]:
        """Images that are there and have a label; others would only take space."""
        del findings  # what is missing is counted where labels meet images
        labelled = _rows_of(self.values).usable()
        crops = []
        for number in np.flatnonzero(labelled):
            path = self.folder / self.images[number]
            try:
                status = path.stat()
            except OSError:
                continue
            facts = status.st_size, status.st_mtime_ns
            crops.append(Crop(int(number) + 1, path, *facts, self.boxes[number]))
        return crops


class _Tree:
    """Contents of the folder: lists and sets by split, and all folders."""

    def __init__(self, findings: Findings) -> None:
        self.lists: dict[str, list[Path]] = {split: [] for split in SPLITS}
        self.sets: dict[str, list[Path]] = {split: [] for split in SPLITS}
        self.folders: list[Path] = []
        self._findings = findings
        self._seen: set[Path] = set()

    def walk(self, folder: Path) -> None:
        """Notes what is in ``folder``, but opens no folder of images."""
        if folder.resolve() in self._seen:  # a link back up would never end
            return
        self._seen.add(folder.resolve())
        entries = list_entries(folder, self._findings)
        names = {entry.name for entry in entries}
        if {"images", "annotations"} <= names and (split := _match(_SETS, folder)):
            self.sets[split].append(folder)
            return
        self.folders.append(folder)
        for entry in entries:
            if entry.suffix.lower() == ".csv" and (split := _match(_LISTS, entry)):
                self.lists[split].append(entry)
            elif not entry.name.isdigit() and entry.is_dir():
                self.walk(entry)


def open_affectnet(root: Path, findings: Findings) -> Source:
    """AffectNet in either layout, as something to pack.

    Raises:
      FileNotFoundError: if there is no such folder.
      ReleaseError: if it is in neither layout, in both, or has a list that cannot be
        read.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"AffectNet {root} is not a folder; give the one that holds training.csv "
            "or train_set"
        )
    tree = _Tree(findings)
    tree.walk(root)
    _check_layout(root, tree)
    shards: list[Shard] = []
    seen: set[str] = set()
    for split in reversed(SPLITS):  # what validates must not train as well
        for path in tree.lists[split]:
            folder = _find_images(path, tree.folders)
            faces = _read_list(path, findings, seen)
            shards += _cut(split, folder, faces)
        for folder in tree.sets[split]:
            shards += _cut(split, folder, _read_set(folder, findings))
    videos = [Video(each.name, None, (each,), stills=True) for each in shards]
    videos.sort(key=lambda video: video.name)
    return Source(root, tuple(videos), functools.partial(_read_labels, shards))


def _check_layout(root: Path, tree: _Tree) -> None:
    lists, sets = (
        [path for paths in found.values() for path in paths]
        for found in (tree.lists, tree.sets)
    )
    if lists and sets:
        raise ReleaseError(
            f"AffectNet {root} holds both layouts, {lists[0]} and {sets[0]}; give the "
            "folder of one of them"
        )
    if not (lists or sets):
        raise ReleaseError(
            f"AffectNet {root} holds neither training.csv or validation.csv nor "
            "train_set or val_set with images and annotations"
        )
    for split, paths in (*tree.lists.items(), *tree.sets.items()):
        if len(paths) > 1:
            raise ReleaseError(
                f"two parts of AffectNet for {split}: {paths[0]} and {paths[1]}; keep "
                "one of them below the folder"
            )


def _match(patterns: dict[str, re.Pattern[str]], path: Path) -> str | None:
    return next((key for key, p in patterns.items() if p.search(path.name)), None)


def _cut(split: str, folder: Path, faces: Iterable[Face]) -> Iterator[Shard]:
    """Shards of faces as they come, so that no more than labels is ever held."""
    faces = iter(faces)
    for index in itertools.count():
        part = list(itertools.islice(faces, SHARD_SIZE))
        if not part:
            return
        yield Shard(
            f"{split}-{index:05d}",
            split,
            folder,
            tuple(face.image for face in part),
            tuple(face.box for face in part),
            np.array([face.values for face in part], np.float64),
        )


def _read_labels(
    shards: list[Shard], numbers: dict[str, np.ndarray], findings: Findings
) -> AllLabels:
    """Valence and arousal as one set, expressions as another."""
    del findings  # every row was judged when it was read
    labels: AllLabels = {
        key: SplitLabels(SetCounts(), [], {}) for key in itertools.product(SETS, SPLITS)
    }
    for shard in shards:
        va, expr = shard.values.copy(), shard.values.copy()
        va[:, 2:] = expr[:, :2] = math.nan
        for name, values in (("va", va), ("expr", expr)):
            rows = _rows_of(values)
            labels[name, shard.split].add(shard.name, rows, numbers[shard.name])
    return labels


def _rows_of(values: np.ndarray) -> Rows:
    return mask_values(np.arange(1, len(values) + 1, dtype=np.int32), values)


def _find_images(path: Path, folders: list[Path]) -> Path:
    """The folder in which the images of a list are, seen by its first rows."""
    rows = itertools.islice(_rows(path), _PROBED)
    images = [row[_IMAGE] for _, row in rows if row and _is_inside(row[_IMAGE])]
    for folder in folders:
        if any(os.path.exists(folder / image) for image in images):
            return folder
    raise ReleaseError(
        f"no image of the first {len(images)} rows of {path} was found; unpack "
        "Manually_Annotated_Images (or where they are) into the same folder"
    )


def _read_list(path: Path, findings: Findings, seen: set[str]) -> Iterator[Face]:
    for line, row in _rows(path):

        def note(kind: str, text: str, line: int = line) -> None:
            findings.add(kind, path, text, line)

        if row is None:
            note("fields", "fewer values than the header has; left out")
            yield Face("", None, _UNLABELLED)
        elif not _is_inside(row[_IMAGE]):
            text = f"{quote(row[_IMAGE])} is no path like 103/29a31ebf.jpg; refused"
            note("path", text)
        elif row[_IMAGE] in seen:
            note("duplicate", f"{row[_IMAGE]} is listed twice; counted once")
        else:
            seen.add(row[_IMAGE])
            values = read_labels([row[name] for name in LABELS], note)
            yield _read_face(row, values, note)


def _read_face(
    row: dict[str, str], values: tuple[float, float, float], note: Note
) -> Face:
    """A face with its box, which is looked at only if there is a label."""
    if not is_labelled(values):
        return Face(row[_IMAGE], None, values)
    try:
        box = Box(*(float(row[name]) for name in _BOX))
    except ValueError:
        box = Box(math.nan, 0, 0, 0)
    if all(map(math.isfinite, box)):
        return Face(row[_IMAGE], box, values)
    note("number", f"face box {quote(','.join(row[n] for n in _BOX))} left out")
    return Face(row[_IMAGE], None, _UNLABELLED)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Line number and fields of every row, None for one that is too short."""
    needed = (_IMAGE, *_BOX, *LABELS)
    reader = None
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(bounded_lines(file))
            header = [name.strip() for name in next(reader, [])]
            if missing := [name for name in needed if name not in header]:
                raise ReleaseError(
                    f"{path} has no column {', '.join(missing)} in its first line; "
                    f"AffectNet's lists begin with {','.join(needed[:3])}"
                )
            columns = {name: header.index(name) for name in needed}
            for row in filter(None, reader):
                if len(row) > max(columns.values()):
                    fields = {name: row[k].strip() for name, k in columns.items()}
                    yield reader.line_num, fields
                else:
                    yield reader.line_num, None
    except UnicodeDecodeError:
        raise ReleaseError(
            f"{path} is no text in UTF-8, so its names are unsure; save it as UTF-8"
        ) from None
    except TextLimitError as error:
        raise ReleaseError(f"{path} {error}") from None
    except csv.Error as error:
        line = reader.line_num if reader else 1
        raise ReleaseError(f"{path} is damaged at line {line} ({error})") from None


def _is_inside(image: str) -> bool:
    """True if a path stays below its folder, on any operating system."""
    path = PurePosixPath(image)
    if not image.isprintable() or re.search(r"[\\:]", image) or path.is_absolute():
        return False
    return bool(path.name) and ".." not in path.parts


def _read_set(folder: Path, findings: Findings) -> Iterator[Face]:
    """Faces of ``images`` and ``annotations``, by their number."""
    images = {
        path.stem: path.name
        for path in list_entries(folder / "images", findings)
        if path.suffix.lower() in IMAGE_SUFFIXES
    }
    annotations = list_entries(folder / "annotations", findings)
    files = {path.name for path in annotations}
    stems = set(images)
    stems |= {n[: -len("_exp.npy")] for n in files if n.endswith("_exp.npy")}
    for stem in sorted(stems, key=lambda stem: (len(stem), stem)):
        path = folder / "annotations" / f"{stem}_exp.npy"

        def note(kind: str, text: str, path: Path = path) -> None:
            findings.add(kind, path, text)

        names = [f"{stem}_{kind}.npy" for kind in _KINDS]
        if missing := [name for name in names if name not in files]:
            text = f"{', '.join(missing)} of image {stem} missing; that label left out"
            note("annotation", text)
        texts = [
            _read_scalar(path.with_name(name), findings) if name in files else None
            for name in names
        ]
        image = f"images/{images.get(stem, f'{stem}.jpg')}"
        yield Face(image, None, read_labels(texts, note))


def _read_scalar(path: Path, findings: Findings) -> str | None:
    """The one value of a file, None if it has none that can be read."""
    try:
        with open(path, "rb") as file:
            head = io.BytesIO(file.read(_SCALAR))
        array = np.lib.format.read_array(head, allow_pickle=False)
        if array.size == 1:
            return str(array.astype(str).item())  # some are bytes
        reason = f"holds {array.size} values and not one"
    except (OSError, ValueError, TypeError, EOFError, MemoryError) as error:
        reason = f"cannot be read ({error})"
    findings.add("annotation", path, f"{reason}; left out")
    return None
