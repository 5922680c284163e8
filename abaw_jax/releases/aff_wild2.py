"""Finds the videos, folders of crops and annotation files of a release.

Folders are found by pattern and not by name, because every edition and every download
names them a little differently. Nothing is opened here but directories.
"""

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path

from abaw_jax.releases.crops import (
    Crop,
    ReleaseError,
    Video,
    list_crops,
    list_entries,
)
from abaw_jax.releases.findings import Findings
from abaw_jax.releases.media import VIDEO_SUFFIXES
from abaw_jax.releases.names import normal_name

_CROPS = re.compile(r"cropped", re.IGNORECASE)
_ALIGNED = re.compile(r"aligned", re.IGNORECASE)
_BATCH = re.compile(r"batch[ _-]?[0-9]+", re.IGNORECASE)
_SETS = {
    "va": re.compile(r"va(?![a-z])|valence", re.IGNORECASE),
    "expr": re.compile(r"expr", re.IGNORECASE),
    "au": re.compile(r"au(?![a-z])|action", re.IGNORECASE),
    "mtl": re.compile(r".*(mtl|multi[ _-]?task)", re.IGNORECASE),
}
_SPLITS = {
    "train": re.compile(r"train", re.IGNORECASE),
    "validation": re.compile(r"val(?!ence)", re.IGNORECASE),
}
_LIST = re.compile(r"(train|valid)[a-z]*[ _-]?set", re.IGNORECASE)
_TEST = re.compile(r"(?<![a-z])test(?![a-z])", re.IGNORECASE)
_TEST_SETS = {
    "mtl": re.compile(r"mtl|multi[ _-]?task", re.IGNORECASE),
    "va": re.compile(r"valence|(?<![a-z])va(?![a-z])", re.IGNORECASE),
    "expr": re.compile(r"expr", re.IGNORECASE),
    "au": re.compile(r"action|(?<![a-z])au(?![a-z])", re.IGNORECASE),
}
_SIDE = re.compile(r"_(left|right)$")


@dataclasses.dataclass(frozen=True)
class Subject:
    """One person in one video: a folder of crops named after the video.

    Attributes:
      name: the folder's name, which annotation files use too, its accents composed.
      folder: where the crops lie.
    """

    name: str
    folder: Path

    @property
    def aligned(self) -> bool:
        """True if all crops should be of one size."""
        return "aligned" in self.folder.parent.as_posix().lower()

    def crops(self, findings: Findings) -> list[Crop]:
        """Crops in the order of their frames, each number once."""
        return list_crops(self.folder, findings)


@dataclasses.dataclass(frozen=True)
class Release:
    """Folders and files of a release.

    Attributes:
      root: the folder given.
      videos: every video of which there are crops, by name.
      annotations: files by set and split, by name.
      tests: test lists by set, by name.
    """

    root: Path
    videos: tuple[Video, ...]
    annotations: dict[tuple[str, str], tuple[Path, ...]]
    tests: dict[str, tuple[Path, ...]]


def scan_release(root: Path, findings: Findings) -> Release:
    """Looks through the folders of a release.

    Raises:
      FileNotFoundError: if there is no such folder.
      ReleaseError: if it holds no crops or no annotation, or two of the same set.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"release {root} is not a folder; give the folder that holds batch1, "
            "cropped_aligned and the annotations"
        )
    tree = _Tree(findings)
    tree.walk(root, None)
    tree.gather_crops()
    if not tree.crops:
        raise ReleaseError(
            f"release {root} holds no crops: expected "
            "cropped_aligned/SUBJECT/00001.jpg (or cropped/...) somewhere below it"
        )
    if not any(tree.annotations.values()):
        raise ReleaseError(
            f"release {root} holds no annotation: expected folders like "
            "VA_Estimation_Challenge/Train_Set or MTL_Challenge/train_set.txt below it"
        )
    annotations = {}
    found = {key: files for key, files in tree.annotations.items() if files}
    for (set_name, split), files in sorted(found.items()):
        folders = sorted({file.parent for file in files})
        lists = sorted(file for file in files if _LIST.search(file.name))
        if len(folders) > 1 or len(lists) > 1:
            first, second = (folders if len(folders) > 1 else lists)[:2]
            raise ReleaseError(
                f"two annotations of {set_name} {split}: {first} and {second}; "
                "keep one edition below the release folder"
            )
        annotations[set_name, split] = tuple(sorted(files))
    tests = {name: tuple(sorted(files)) for name, files in sorted(tree.tests.items())}
    return Release(root, _join_videos(tree, findings), annotations, tests)


class _Tree:
    """Collects the three kinds of things while walking down."""

    def __init__(self, findings: Findings) -> None:
        self.crops: dict[str, Path] = {}
        self.videos: dict[str, Path] = {}
        self.annotations: dict[tuple[str, str], list[Path]] = {}
        self.tests: dict[str, list[Path]] = {}
        self._crop_roots: list[Path] = []
        self._findings = findings
        self._seen: set[Path] = set()

    def walk(self, folder: Path, set_name: str | None) -> None:
        """Notes the files in ``folder``, inside the annotations of ``set_name``."""
        if folder.resolve() in self._seen:  # a link back up would never end
            return
        self._seen.add(folder.resolve())
        for entry in list_entries(folder, self._findings):
            if entry.is_dir():
                if _CROPS.match(entry.name):
                    self._crop_roots.append(entry)
                elif set_name and (split := _match(_SPLITS, entry.name)):
                    # Of two files of one name the .txt is taken, as it was published.
                    files = list_entries(entry, self._findings)
                    for file in sorted(files, key=lambda f: f.suffix.lower() != ".txt"):
                        self._note_text(file, (set_name, split))
                else:
                    self.walk(entry, _match(_SETS, entry.name) or set_name)
            elif entry.suffix.lower() in VIDEO_SUFFIXES:
                self._note(self.videos, entry.stem, entry, "duplicate_video")
            elif _TEST.search(entry.name) and entry.suffix.lower() == ".txt":
                if name := _search(_TEST_SETS, entry.name) or set_name:
                    self.tests.setdefault(name, []).append(entry)
            elif part := _LIST.search(entry.name):
                split = _match(_SPLITS, part[0])
                if split and set_name in (None, "mtl"):
                    self._note_text(entry, ("mtl", split))

    def gather_crops(self) -> None:
        """Takes aligned crops of every subject, others where there are none."""
        aligned: dict[str, Path] = {}
        others: dict[str, Path] = {}
        for root in self._crop_roots:
            self._note_crops(root, aligned if _ALIGNED.search(root.name) else others)
        self.crops = others | aligned
        for name in sorted(set(others) - set(aligned)) if aligned else ():
            text = "only these crops exist, which are not aligned; used as they are"
            self._findings.add("unaligned", others[name], text)

    def _note_crops(self, root: Path, found: dict[str, Path]) -> None:
        for entry in list_entries(root, self._findings):
            if not entry.is_dir():
                continue
            if _CROPS.match(entry.name) or _BATCH.fullmatch(entry.name):
                self._note_crops(entry, found)
            else:
                self._note(found, entry.name, entry, "duplicate_subject")

    def _note_text(self, file: Path, key: tuple[str, str]) -> None:
        if not file.is_file():
            return
        known = self.annotations.setdefault(key, [])
        if file.suffix.lower() not in (".txt", ".csv"):
            text = "is no .txt or .csv, as annotations are; left out"
            self._findings.add("left_out", file, text)
        elif twin := next((p for p in known if _base(p) == _base(file)), None):
            _refuse_two_encodings(file, twin)
            text = "another file of the same name is used"
            self._findings.add("duplicate_annotation", file, text)
        else:
            known.append(file)

    def _note(self, found: dict[str, Path], name: str, path: Path, kind: str) -> None:
        kept = found.setdefault(normal_name(name), path)
        if kept is not path:
            _refuse_two_encodings(path, kept)
            text = f"{kept.parent.name}/{kept.name} has the same name and is used"
            self._findings.add(kind, path, text)


def _base(file: Path) -> tuple[Path, str]:
    """Folder and name of a file, whatever its suffix and its accents."""
    return file.parent, normal_name(file.stem)


def _refuse_two_encodings(path: Path, other: Path) -> None:
    """Refuses two names that are one but for the encoding of their accents."""
    if path.name != other.name and normal_name(path.name) == normal_name(other.name):
        raise ReleaseError(
            f"{path.parent} holds {path.name!a}, which differs from {other.name!a} by "
            "the encoding of its accents only (Unicode NFC, NFD): rename or remove one"
        )


def _search(patterns: dict[str, re.Pattern[str]], name: str) -> str | None:
    return next(
        (key for key, pattern in patterns.items() if pattern.search(name)), None
    )


def _match(patterns: dict[str, re.Pattern[str]], name: str) -> str | None:
    return next((key for key, pattern in patterns.items() if pattern.match(name)), None)


def video_name(subject: str, videos: Collection[str] = ()) -> str:
    """The video a subject was cut from.

    >>> video_name("video59_right"), video_name("video10_1")
    ('video59', 'video10_1')
    >>> video_name("video10_1_left")
    'video10_1'

    Args:
      subject: name of a folder of crops.
      videos: names of the videos at hand; one of the very same name comes first.
    """
    return subject if subject in videos else _SIDE.sub("", subject)


def _join_videos(tree: _Tree, findings: Findings) -> tuple[Video, ...]:
    grouped: dict[str, list[Subject]] = {}
    for name, folder in sorted(tree.crops.items()):
        grouped.setdefault(video_name(name, tree.videos), []).append(
            Subject(name, folder)
        )
    for name, subjects in grouped.items():
        if name not in tree.videos:
            text = f"no video {name} for these crops; they have no sound"
            findings.add("no_video", subjects[0].folder, text)
    return tuple(
        Video(name, tree.videos.get(name), tuple(subjects))
        for name, subjects in sorted(grouped.items())
    )
