"""Opens a packed store: memory-mapped ``.npy`` files and a manifest with checksums.

    manifest.json                      written last: a store without it is unfinished
    subjects/<subject>/frames.npy      uint8 [F, H, W, 3], in the order of the frames
    subjects/<subject>/jpegs.npy       or else uint8 [bytes], JPEG files in a row
    subjects/<subject>/ends.npy        and int64 [F], where each of them ends
    subjects/<subject>/numbers.npy     int32 [F], frame numbers, ascending from 1
    sound/<video>.npy                  int16 [n], mono, 22.05 kHz; empty without sound
    times/<video>.npy                  float64 [F], seconds of each frame of the video,
                                       where its rate varies
    labels/<set>_<split>/<field>.npy   the fields of ``Labels``

Opening reads the manifest only, so a store of millions of frames opens at once; each
file is compared with its checksum when it is first used.
"""

import dataclasses
import functools
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from abaw_jax.json_files import unseal
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.labels import Labels
from abaw_jax.store.file_limit import mapped_files
from abaw_jax.store.files import (
    TEST_FIELDS,
    describe_file,
    json_bytes,
    label_file,
    times_file,
)
from abaw_jax.store.frames import (
    FRAME_FILES,
    DigestError,
    Images,
    JpegFrames,
    StoreError,
    why_damaged,
)
from abaw_jax.system_limits import advice_on, in_a_sentence
from abaw_jax.tasks import SETS, SPLITS

STORE_VERSION = 2
"""Changes when an older program could not read the store."""

MANIFEST = "manifest.json"

Verify = Literal["first_use", "always", "never"]  # "always": all files, at opening


@dataclasses.dataclass(frozen=True)
class Subject:
    """One person in one video.

    Attributes:
      name: as in the release.
      video: the video's name; two subjects may share it.
      fps: frames a second of the video; the mean where the rate varies.
      num_frames: frames of the video.
      num_images: crops stored, at most ``num_frames`` if the release is sound.
      first_row: row of its first image among the images of all subjects.
    """

    name: str
    video: str
    fps: float
    num_frames: int
    num_images: int
    first_row: int


class Store:
    """An opened store; made by ``open_store``.

    Arrays are read-only views of mapped files. May be shared between threads, and is
    pickled as its path. Reading may raise `DigestError`.

    Attributes:
      path: the folder.
      image_size: side of the stored crops in pixels.
      images: how they are stored, "pixels" or "jpeg".
      sample_rate: samples a second of the sound.
      subjects: every subject, in the order of the rows.
      num_images: stored crops of all subjects.
      fingerprint: changes when any byte of the store does.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], verify: Verify = "first_use"
    ) -> None:
        self.path = path
        self._unverified = dict(manifest["files"]) if verify == "first_use" else {}
        self.image_size: int = manifest["image_size"]
        self.images: Images = manifest["images"]
        self.sample_rate: int = manifest["sample_rate"]
        subjects, row = [], 0
        for fields in manifest["subjects"]:
            subjects.append(Subject(**fields, first_row=row))
            row += subjects[-1].num_images
        self.subjects: tuple[Subject, ...] = tuple(subjects)
        self.num_images = row
        self._variable = np.array(
            [times_file(s.video) in manifest["files"] for s in subjects], bool
        )
        self._tests: tuple[str, ...] = tuple(manifest["tests"])
        self.fingerprint = hashlib.sha256(json_bytes(manifest)).hexdigest()
        # Beyond the bound the file used longest ago is closed.
        self._map = functools.lru_cache(maxsize=mapped_files())(self._open)

    def __reduce__(self) -> tuple[Any, ...]:
        # "always" was done by the process that opened it.
        return open_store, (self.path, "first_use" if self._unverified else "never")

    def frames(self, subject: int) -> np.ndarray | JpegFrames:
        """Crops of one subject, uint8 ``[F, H, W, 3]``, decoded when indexed if JPEG.

        Both kinds know their length and take a slice or an array of integers.
        """
        name = self.subjects[subject].name
        files = [self._map(f"subjects/{name}/{f}") for f in FRAME_FILES[self.images]]
        if self.images == "pixels":
            return files[0]
        jpegs, ends = files
        numbers = self.numbers(subject)
        return JpegFrames(name, jpegs, ends, numbers, self.image_size)

    def numbers(self, subject: int) -> np.ndarray:
        """Frame numbers of one subject's crops, int32 ``[F]``, ascending."""
        return self._map(f"subjects/{self.subjects[subject].name}/numbers.npy")

    def sound(self, subject: int) -> np.ndarray:
        """Sound of one subject's video, int16 ``[n]``; empty without sound."""
        return self._map(f"sound/{self.subjects[subject].video}.npy")

    def frame_times(self, subject: int) -> FrameTimes:
        """Times of the frames of one subject's video."""
        each = self.subjects[subject]
        if not self._variable[subject]:
            return FrameTimes(each.fps)
        return FrameTimes(each.fps, self._map(times_file(each.video)))

    def variable_rate(self) -> np.ndarray:
        """Indices of the subjects whose videos have no constant frame rate."""
        return np.flatnonzero(self._variable)

    def labels(self, set_name: str, split: str) -> Labels:
        """Labels of one split of one annotation set; no rows if the release had none.

        Raises:
          ValueError: if there is no such set or split.
        """
        if set_name not in SETS or split not in SPLITS:
            raise ValueError(
                f"no labels {set_name!r}, {split!r}; sets are {SETS}, splits {SPLITS}"
            )
        return Labels(
            **{
                field.name: self._open(label_file(set_name, split, field.name))
                for field in dataclasses.fields(Labels)
            }
        )

    def test_frames(self, set_name: str) -> tuple[np.ndarray, np.ndarray]:
        """Frames of the test list of a set, with or without an image.

        Returns:
          int32 ``[N]``, index into the store's subjects, and frames, counted from 1;
          sorted by both. Nothing if the release had no such list.
        """
        if set_name not in self._tests:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        names = (label_file(set_name, "test", field) for field in TEST_FIELDS)
        subject, frame = (self._open(name) for name in names)
        return subject, frame

    def row_of(self, subject: npt.ArrayLike, frame: npt.ArrayLike) -> np.ndarray:
        """Rows of images by subject and frame number.

        One gather a query, whatever the size of the store; the table of four bytes a
        frame is built at the first call.

        Args:
          subject: int ``[...]``, indices into ``subjects``.
          frame: int ``[...]``, counted from 1; any integer is allowed.

        Returns:
          int32 ``[...]``, position among the images of all subjects, or -1 where that
          frame has no image.
        """
        first, last, table = self._rows
        subject, frame = np.asarray(subject), np.asarray(frame, np.int64)
        known = (subject >= 0) & (subject < len(self.subjects))
        if not np.all(known):
            raise ValueError(
                f"subject index outside 0 to {len(self.subjects) - 1}: "
                f"{subject[~known].ravel()[0]}"
            )
        inside = (frame >= 1) & (frame <= last[subject])
        return table[np.where(inside, first[subject] + frame, 0)]

    @functools.cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Start of each subject's frames in the table, its last frame, the table."""
        last = np.zeros(len(self.subjects), np.int64)
        for index, subject in enumerate(self.subjects):
            if subject.num_images:
                last[index] = self.numbers(index)[-1]
        first = np.concatenate([[0], np.cumsum(last)])
        table = np.full(first[-1] + 1, -1, np.int32)  # entry 0 means "no image"
        for index, subject in enumerate(self.subjects):
            rows = np.arange(subject.first_row, subject.first_row + subject.num_images)
            table[first[index] + self.numbers(index)] = rows
        return first[:-1], last, table

    def sound_length(self, subject: int) -> int:
        """Samples of one subject's sound; compared with the size of its file only."""
        name = f"sound/{self.subjects[subject].video}.npy"
        array, facts = self._mapped(name), self._unverified.get(name)
        if facts is not None and array.offset + array.nbytes != facts["bytes"]:
            raise DigestError(why_damaged(self.path, name))
        return len(array)

    def _open(self, name: str) -> np.ndarray:
        self._verify(name)
        # The indexing of a memmap itself is several times slower.
        return self._mapped(name).view(np.ndarray)

    def _verify(self, name: str) -> None:
        """Compares a file with its checksum when it is first used."""
        expected = self._unverified.get(name)
        if expected is None:
            return
        try:
            found = describe_file(self.path / name)
        except OSError as error:
            raise self._unreadable(name, error) from None
        if found != expected:
            raise DigestError(why_damaged(self.path, name))
        self._unverified.pop(name, None)

    def _mapped(self, name: str) -> np.memmap:
        try:
            # np.load opens the file three times, and resolves the path of a Path.
            return open_memmap(os.path.join(self.path, name), mode="r")
        except (OSError, ValueError) as error:
            if name in self._unverified and isinstance(error, FileNotFoundError):
                raise DigestError(why_damaged(self.path, name)) from None
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: Exception) -> Exception:
        if advice := advice_on(error):  # no row is masked for what may be sound
            return OSError(in_a_sentence(error, advice))
        return StoreError(
            f"store {self.path} is damaged: {name} cannot be read ({error}); "
            "delete that file and run abaw_jax.prepare again, it redoes only that"
        )


def open_store(path: str | os.PathLike[str], verify: Verify = "first_use") -> Store:
    """Opens a store that ``abaw_jax.prepare`` has finished.

    Args:
      path: of the store.
      verify: when its files are compared with their checksums.

    Raises:
      FileNotFoundError: if there is no such folder or nothing was prepared there.
      StoreError: if it is unfinished, damaged, or of another version.
    """
    path = Path(path)
    if verify == "always":
        check(path)
    return Store(path, read_manifest(path), verify)


def check(path: str | os.PathLike[str]) -> None:
    """Compares every file of a store with its checksum.

    Raises:
      FileNotFoundError: if there is no store.
      StoreError: if files are missing or changed; names them.
    """
    if damaged := damaged_files(Path(path)):
        more = f" and {len(damaged) - 5} more" if len(damaged) > 5 else ""
        raise StoreError(why_damaged(Path(path), f"{', '.join(damaged[:5])}{more}"))


def damaged_files(path: Path) -> list[str]:
    """Names of the files of a store that are missing or not as they were written.

    Raises:
      FileNotFoundError: if there is no store.
      StoreError: if its manifest is missing or damaged.
    """
    files = read_manifest(path)["files"]
    with ThreadPoolExecutor() as pool:  # hashing runs outside the interpreter lock
        found = pool.map(describe_file, [path / name for name in files])
        return [
            name
            for (name, facts), now in zip(files.items(), found, strict=True)
            if now != facts
        ]


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads and judges ``manifest.json``; raises like ``open_store``."""
    if not any((path / name).exists() for name in (MANIFEST, "subjects", "sound")):
        raise FileNotFoundError(
            f"no store at {path}; make one with python -m abaw_jax.prepare "
            f"--release=DIR --store={path}"
        )
    damaged = StoreError(
        f"{path / MANIFEST} is damaged; delete it and run abaw_jax.prepare again"
    )
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        manifest = unseal(manifest) if isinstance(manifest, dict) else manifest
    except FileNotFoundError:
        raise StoreError(
            f"store {path} is unfinished (no {MANIFEST}); run abaw_jax.prepare again, "
            "it goes on where it stopped"
        ) from None
    except (ValueError, RecursionError):
        raise damaged from None
    version = manifest.get("version") if isinstance(manifest, dict) else None
    if version != STORE_VERSION:
        raise StoreError(
            f"store {path} has version {version}, this program reads {STORE_VERSION}; "
            "prepare it anew into another folder"
        )
    try:
        subjects = [Subject(**fields, first_row=0) for fields in manifest["subjects"]]
        names = [*manifest["files"], *manifest["tests"]]
        names += [name for each in subjects for name in (each.name, each.video)]
        names += FRAME_FILES[manifest["images"]]
    except (TypeError, KeyError):
        raise damaged from None
    for name in names:
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise StoreError(f"{path / MANIFEST} names a place outside it: {name!r}")
    return manifest
