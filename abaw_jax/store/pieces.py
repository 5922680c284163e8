"""Packs one piece of a store: the crops of a subject, or the sound of a video.

Beside its files every piece leaves a record of what it was made from, what became of it
and how its files hash. A piece whose record still matches is not made again; that is
all there is to restarting. What could not be read is tried again at every call.
"""

import dataclasses
import hashlib
import json
import re
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from abaw_jax.json_files import seal, unseal
from abaw_jax.releases.crops import Crop, Group, Video
from abaw_jax.releases.findings import Anomaly, Findings
from abaw_jax.releases.frame_times import FrameTimes
from abaw_jax.releases.images import DECODING, MediaError, Picture, read_image
from abaw_jax.releases.media import READING, SAMPLE_RATE, Recording, read_recording
from abaw_jax.store.files import (
    describe_file,
    json_bytes,
    remove_partial,
    replacing,
    times_file,
)
from abaw_jax.store.frames import (
    FRAME_FILES,
    Images,
    encode_jpeg,
    write_frames,
    write_jpegs,
)
from abaw_jax.store.reader import STORE_VERSION

_NAMED_RATE = re.compile(r"[^-]+-([0-9]{1,3})-[0-9]+x[0-9]+")  # id-fps-size
_USUAL_RATE = 30.0
_SUBJECT_FILES = ("numbers.npy", *(f for kind in FRAME_FILES.values() for f in kind))
_FAILED = {"video", "sound_damaged"}  # kinds of findings on what could not be read


@dataclasses.dataclass(frozen=True)
class Record:
    """Result of packing a piece.

    Attributes:
      source: hash of what it was made from.
      facts: numbers for manifest and report.
      anomalies: for the report.
      files: size and checksum of each file, by name in the store.
    """

    source: str
    facts: dict[str, Any]
    anomalies: list[Anomaly]
    files: dict[str, dict[str, Any] | None]


Subject = tuple[Record, np.ndarray]
"""A packed subject: its record and the frame numbers of its crops, int32 ``[F]``."""


@dataclasses.dataclass(frozen=True)
class Packer:
    """Makes pieces; may be used by several threads.

    Attributes:
      root: the release.
      store: where to write; None decodes all the same and writes nothing.
      image_size: side of the stored crops in pixels.
      images: how they are stored.
      on_progress: called with the number of crops just done; may raise to end the work.
      renew: called before anything is written.
      writer: distinguishes its temporary files from those of another process, which
        may still pack a piece that was given up there.
    """

    root: Path
    store: Path | None
    image_size: int
    images: Images
    on_progress: Callable[[int], None]
    renew: Callable[[], None]
    writer: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def sign(self, subject: Group) -> tuple[str, int]:
        """Hash over names, sizes and times of a subject's crops, and their number."""
        crops = subject.crops(Findings(self.root))
        kind = f"{STORE_VERSION} {DECODING} {self.image_size} {self.images}"
        digest = hashlib.sha256(kind.encode())
        for crop in crops:
            path = self._relative(crop.path)
            signed = f"\n{crop.number} {crop.size} {crop.modified} {crop.box} {path}"
            digest.update(signed.encode(errors="surrogateescape"))
        return digest.hexdigest(), len(crops)

    def find_subject(self, subject: Group, source: str) -> Subject | None:
        """A subject that is packed; None if it is not, or could be read better now."""
        stem = f"subjects/{subject.name}"
        record = self._finished(f"{stem}/record.json", source, f"{stem}/numbers.npy")
        if record is None or self.store is None or self._is_mended(subject, record):
            return None
        self.on_progress(record.facts["listed"])
        numbers = np.load(self.store / f"{stem}/numbers.npy", allow_pickle=False)
        return record, numbers

    def pack_subject(self, subject: Group, source: str) -> Subject:
        """Packs the crops of a subject; returns their frame numbers too."""
        if (found := self.find_subject(subject, source)) is not None:
            return found
        stem = f"subjects/{subject.name}"
        findings = Findings(self.root)
        crops = subject.crops(findings)
        tally = _CropCounts(subject)
        pictures = self._decode(crops, tally, findings)
        if self.store is None:
            for _ in pictures:
                pass
        else:
            self._begin(*(f"{stem}/{f}" for f in ("record.json", *_SUBJECT_FILES)))
            self._write(self.store / stem, pictures)
            with self._replacing(self.store / f"{stem}/numbers.npy") as file:
                np.save(file, tally.frame_numbers(), allow_pickle=False)
        tally.report(findings)
        facts = {
            "listed": len(crops),
            "num_images": len(tally.numbers),
            "resized": len(tally.numbers)
            - tally.sizes[self.image_size, self.image_size],
            "unreadable": tally.unreadable,
        }
        names = [f"{stem}/{f}" for f in (*FRAME_FILES[self.images], "numbers.npy")]
        record = self._finish(f"{stem}/record.json", source, facts, findings, names)
        return record, tally.frame_numbers()

    def find_sound(self, video: Video) -> Record | None:
        """The record of a video's sound that is packed, as far as it could be read."""
        return self._finished(f"sound/{video.name}.json", self._sign_file(video.path))

    def pack_sound(self, video: Video) -> Record:
        """Packs the sound of a video and the times of its frames."""
        stem = f"sound/{video.name}"
        source = self._sign_file(video.path)
        record = self.find_sound(video)
        if record is not None and not _FAILED & {a.kind for a in record.anomalies}:
            return record
        findings = Findings(self.root)
        names = [f"{stem}.npy"]
        with tempfile.TemporaryFile(dir=self.store) as sound:
            recording = _read_video(video, findings, sound)
            if record is not None and record.anomalies == findings.anomalies():
                return record
            self.on_progress(0)
            shown = recording.frame_times
            if not shown.constant:
                names.append(times_file(video.name))
            if self.store is not None:
                self._begin(f"{stem}.json", f"{stem}.npy", times_file(video.name))
                with self._replacing(self.store / f"{stem}.npy") as file:
                    recording.track.save(file)
                if not shown.constant:
                    with self._replacing(self.store / times_file(video.name)) as file:
                        np.save(file, shown.times, allow_pickle=False)
        facts = {"fps": recording.fps, "num_frames": recording.num_frames}
        return self._finish(f"{stem}.json", source, facts, findings, names)

    def _is_mended(self, subject: Group, record: Record) -> bool:
        """True if a crop that could not be read when it was packed can be read now."""
        failed = set(record.facts.get("unreadable", ()))
        crops = subject.crops(Findings(self.root)) if failed else []
        return any(self._is_readable(c) for c in crops if c.number in failed)

    def _is_readable(self, crop: Crop) -> bool:
        try:
            read_image(crop.path, self.image_size, crop.box)
        except MediaError:
            return False
        return True

    def _sign_file(self, path: Path | None) -> str:
        text = f"{STORE_VERSION} {SAMPLE_RATE} {READING}"
        if path is not None:
            status = path.stat()
            text += f" {status.st_size} {status.st_mtime_ns} {self._relative(path)}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _relative(self, path: Path) -> str:
        """The path as seen from the release, which may be moved."""
        inside = path.is_relative_to(self.root)
        return (path.relative_to(self.root) if inside else path).as_posix()

    def _decode(
        self, crops: list[Crop], tally: "_CropCounts", findings: Findings
    ) -> Iterator[tuple[Path, Picture]]:
        for crop in crops:
            try:
                picture = read_image(crop.path, self.image_size, crop.box)
            except MediaError as error:
                text = f"{error}; treated as missing"
                findings.add("unreadable", crop.path, text)
                tally.unreadable.append(crop.number)
            else:
                tally.add(crop, picture)
                yield crop.path, picture
            self.on_progress(1)

    def _write(self, folder: Path, pictures: Iterator[tuple[Path, Picture]]) -> None:
        """Writes crops while they are being decoded; those of the other kind go."""
        for name in {*_SUBJECT_FILES} - {"numbers.npy"}:
            (folder / name).unlink(missing_ok=True)
        if self.images == "pixels":
            with self._replacing(folder / "frames.npy") as file:
                frames = (picture.pixels for _, picture in pictures)
                write_frames(file, frames, self.image_size)
            return
        with self._replacing(folder / "jpegs.npy") as file:
            ends = write_jpegs(
                file,
                (
                    path.read_bytes() if picture.plain else encode_jpeg(picture.pixels)
                    for path, picture in pictures
                ),
            )
        with self._replacing(folder / "ends.npy") as file:
            np.save(file, ends, allow_pickle=False)

    def _finished(self, name: str, source: str, *read: str) -> Record | None:
        """The record, if it is of this source and its files are there in full.

        Those that are ``read`` again are as they were written.
        """
        if self.store is None:
            return None
        try:
            fields = unseal(json.loads((self.store / name).read_bytes()))
            anomalies = [Anomaly(**anomaly) for anomaly in fields.pop("anomalies")]
            record = Record(anomalies=anomalies, **fields)
            sizes = {f: facts["bytes"] for f, facts in fields["files"].items()}
            there = all((self.store / f).stat().st_size == n for f, n in sizes.items())
            there &= all(describe_file(self.store / f) == record.files[f] for f in read)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None
        return record if there and record.source == source else None

    def _begin(self, record: str, *files: str) -> None:
        """From here on the piece is unfinished, and so is the store."""
        assert self.store is not None
        self.renew()
        (self.store / record).unlink(missing_ok=True)
        for file in (record, *files):
            remove_partial(self.store / file)

    def _replacing(self, path: Path) -> AbstractContextManager[BinaryIO]:
        return replacing(path, self.writer)

    def _finish(
        self,
        name: str,
        source: str,
        facts: dict[str, Any],
        findings: Findings,
        files: list[str],
    ) -> Record:
        if self.store is None:
            return Record(source, facts, findings.anomalies(), {})
        described = {file: describe_file(self.store / file) for file in files}
        record = Record(source, facts, findings.anomalies(), described)
        with self._replacing(self.store / name) as file:
            file.write(json_bytes(seal(dataclasses.asdict(record))))
        return record


class _CropCounts:
    """Keeps count of a subject's crops while they are decoded."""

    def __init__(self, subject: Group) -> None:
        self.subject = subject
        self.numbers: list[int] = []
        self.unreadable: list[int] = []
        self.sizes: Counter[tuple[int, int]] = Counter()
        self._converted: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[int, int] | tuple[str, str], Path] = {}

    def add(self, crop: Crop, picture: Picture) -> None:
        size = picture.width, picture.height
        self.numbers.append(crop.number)
        self.sizes[size] += 1
        self._first.setdefault(size, crop.path)
        for conversion in _conversions(picture):
            self._converted[conversion] += 1
            self._first.setdefault(conversion, crop.path)

    def frame_numbers(self) -> np.ndarray:
        return np.array(self.numbers, np.int32)

    def report(self, findings: Findings) -> None:
        """Notes what differs from the rest; sizes of unaligned crops always do."""
        if not self.numbers:
            everything = self.subject.folder / "*"
            findings.add("no_images", everything, "no usable crop in this folder")
        if self.subject.aligned:
            for size, count in self.sizes.most_common()[1:]:
                (width, height), usual = size, self.sizes.most_common(1)[0][0]
                text = (
                    f"{count} crops are {width}x{height} where the others are "
                    f"{usual[0]}x{usual[1]}; resized"
                )
                findings.add("size", self._first[size], text)
        for conversion, count in sorted(self._converted.items()):
            kind, text = conversion
            findings.add(kind, self._first[conversion], f"{count} crops {text}")


def _conversions(picture: Picture) -> Iterator[tuple[str, str]]:
    """Kind and text of everything that was done to the colours and the orientation."""
    if picture.mode != "RGB":
        yield "colours", f"have the colours {picture.mode}; converted to RGB"
    if picture.turned:
        yield "orientation", "lie turned or mirrored by their EXIF orientation; upright"
    if picture.transparent:
        yield "transparency", "have transparent parts; composed on black"


def _read_video(video: Video, findings: Findings, sound: BinaryIO) -> Recording:
    """Facts of the file, and defaults for those it lacks."""
    recording = Recording(FrameTimes(0.0), 0)
    if video.stills:  # a store has some rate always
        return dataclasses.replace(recording, frame_times=FrameTimes(1.0))
    if video.path is not None:
        try:
            recording = read_recording(video.path, sound)
        except MediaError as error:
            findings.add("video", video.path, f"{error}; the video has no sound")
        for kind, text in recording.remarks:
            findings.add(kind, video.path, text)
    if recording.fps > 0:
        return recording
    named = _NAMED_RATE.fullmatch(video.name)
    fps = float(named[1]) if named and int(named[1]) else _USUAL_RATE
    text = f"no frame rate in the file; {fps:g} a second taken"
    findings.add("frame_rate", video.path or video.subjects[0].folder, text)
    return dataclasses.replace(recording, frame_times=FrameTimes(fps))
