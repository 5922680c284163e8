"""Every way in which a release can be wrong, one at a time.

A case damages the tiny release. It says which kind of anomaly must tell of it, what
that must hold, and how counts and images change; all that it does not name must be as
before.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from abaw_jax.store.writer import inspect
from tests.support.tiny_release import (
    AU,
    AU_HEADER,
    COUNTS,
    EXPR,
    IMAGES,
    MTL,
    SIZE,
    VA,
    counts_of,
    write_lines,
    write_release,
    write_video,
)

Damage = Callable[[Path], None]
ALPHA, BETA = "batch1/alpha.mp4", "batch2/beta.avi"
ALPHA_VA = f"{VA}/Train_Set/alpha.txt"
OMEGA_VA = f"{VA}/Train_Set/omega.txt"
BETA_EXPR = f"{EXPR}/Train_Set/beta_left.txt"
BETA_AU = f"{AU}/Train_Set/beta_right.txt"
MTL_TRAIN = f"{MTL}/train_set.txt"
CROPS = "cropped_aligned"
CROP = f"{CROPS}/alpha/00003.jpg"
ONES = ",1" * 12


class Case(NamedTuple):
    damage: Damage
    kind: str = ""
    text: str = ""
    counts: str = ""
    lost: int = 0


def line(file: str, number: int, text: str) -> Damage:
    """Replaces one line of a text."""

    def damage(root):
        lines = (root / file).read_text().splitlines()
        lines[number - 1] = text
        write_lines(root / file, lines)

    return damage


def append(file: str, *lines: str) -> Damage:
    def damage(root):
        write_lines(root / file, [*(root / file).read_text().splitlines(), *lines])

    return damage


def ends(file: str, end: str) -> Damage:
    def damage(root):
        write_lines(root / file, (root / file).read_text().splitlines(), end=end)

    return damage


def put(file: str, content: bytes) -> Damage:
    return lambda root: (root / file).write_bytes(content) and None


def cut(file: str, part: float) -> Damage:
    def damage(root):
        data = (root / file).read_bytes()
        (root / file).write_bytes(data[: int(len(data) * part)])

    return damage


def draw(file: str, mode: str, size: tuple[int, int], **options: Any) -> Damage:
    return lambda root: Image.new(mode, size).save(root / file, **options)


def lying_on_its_side() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def film(file: str, **options) -> Damage:
    return lambda root: write_video(root / file, **options)


def remove(pattern: str) -> Damage:
    def damage(root):
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def both(first: Damage, second: Damage) -> Damage:
    return lambda root: (first(root), second(root)) and None


CASES = {
    "file empty": Case(
        put(ALPHA_VA, b""), "empty_file", "is empty", counts="va train 0 0 0 0"
    ),
    "header only": Case(
        put(ALPHA_VA, b"valence,arousal\n"),
        "empty_file",
        "no label",
        counts="va train 1 0 0 0",
    ),
    "header of another task": Case(
        put(ALPHA_VA, AU_HEADER.encode() + b"\n"),
        "header",
        "for au; expected 'valence,arousal'",
        counts="va train 0 0 0 0",
    ),
    "no header": Case(
        line(ALPHA_VA, 1, "0.1,0.1"),
        "header",
        "is no header",
        counts="va train 0 0 0 0",
    ),
    "too few fields": Case(
        line(ALPHA_VA, 3, "0.1"), "fields", "1 values", counts="va train 1 10 2 1"
    ),
    "too many fields": Case(
        line(BETA_AU, 5, "1" + ONES), "fields", "13 values", counts="au train 1 10 0 2"
    ),
    "too few fields in a list": Case(
        line(MTL_TRAIN, 2, "alpha/00001.jpg,0,0"),
        "fields",
        "2 values",
        counts="mtl train 2 2 1 2",
    ),
    "word for a number": Case(
        line(ALPHA_VA, 3, "calm,0"),
        "number",
        "valence is 'calm'",
        counts="va train 1 10 2 1",
    ),
    "nan": Case(
        line(ALPHA_VA, 3, "0,nan"),
        "number",
        "arousal is 'nan'",
        counts="va train 1 10 2 1",
    ),
    "valence out of range": Case(
        line(ALPHA_VA, 3, "1.5,0"),
        "range",
        "'1.5', outside [-1, 1]",
        counts="va train 1 10 2 1",
    ),
    "class out of range": Case(
        line(BETA_EXPR, 4, "8"), "range", "from 0 to 7", counts="expr train 1 10 0 2"
    ),
    "unit out of range": Case(line(BETA_AU, 4, "2" + ONES[2:]), "range", "AU1 is '2'"),
    "missing as -5.0": Case(line(ALPHA_VA, 3, "-5.0,-5.0"), counts="va train 1 10 2 1"),
    "carriage returns": Case(ends(ALPHA_VA, "\r\n")),
    "doubled carriage returns": Case(ends(BETA_AU, "\r\r\n")),
    "blank lines at the end": Case(append(ALPHA_VA, "", "", "")),
    "blank line inside": Case(
        line(ALPHA_VA, 3, ""), "blank_line", "is blank", counts="va train 1 10 2 0"
    ),
    "more lines than frames": Case(
        append(BETA_EXPR, *"1234"), counts="expr train 1 11 4 1"
    ),
    "fewer lines than frames": Case(
        put(BETA_EXPR, b"Neutral,Anger\n1\n0\n"), counts="expr train 1 2 0 0"
    ),
    "not utf-8": Case(
        put(BETA_EXPR, b"Neutral,Anger\n1\n\xe9\n"),
        "encoding",
        "not UTF-8",
        counts="expr train 1 1 0 1",
    ),
    "unknown subject": Case(
        put(f"{VA}/Train_Set/omega.txt", b"valence,arousal\n0,0\n-5,0\n"),
        "unknown_subject",
        "no crops of 'omega'",
        counts="va train 2 11 3 1",
    ),
    "unknown subject in a list": Case(
        append(MTL_TRAIN, f"omega/00001.jpg,0,0,0{ONES}"),
        "unknown_subject",
        "'omega'",
        counts="mtl train 3 3 2 1",
    ),
    "absolute path": Case(
        append(MTL_TRAIN, f"/etc/1.jpg,0,0,0{ONES}"),
        "path",
        "'/etc/1.jpg' is not of the form",
    ),
    "path upwards": Case(
        append(MTL_TRAIN, f"../00001.jpg,0,0,0{ONES}"), "path", "refused"
    ),
    "deep path upwards": Case(
        append(MTL_TRAIN, f"alpha/../../1.jpg,0,0,0{ONES}"), "path", "refused"
    ),
    "row twice": Case(
        append(MTL_TRAIN, f"alpha/00001.jpg,0.1,0.2,3{ONES}"),
        "duplicate",
        "is listed twice",
    ),
    "row past the last frame": Case(
        append(MTL_TRAIN, f"alpha/00099.jpg,0,0,0{ONES}"), counts="mtl train 2 3 2 1"
    ),
    "crop truncated": Case(
        cut(CROP, 0.5),
        "unreadable",
        "cannot be decoded",
        counts="va train 1 10 3 0",
        lost=1,
    ),
    "crop empty": Case(
        put(CROP, b""),
        "unreadable",
        "cannot be decoded",
        counts="va train 1 10 3 0",
        lost=1,
    ),
    "crop is text": Case(
        put(CROP, b"hello"),
        "unreadable",
        "cannot be decoded",
        counts="va train 1 10 3 0",
        lost=1,
    ),
    "crop of another size": Case(
        draw(CROP, "RGB", (20, 10)), "size", "1 crops are 20x10"
    ),
    "crop on its side": Case(
        draw(CROP, "RGB", (16, 16), exif=lying_on_its_side()),
        "orientation",
        "EXIF orientation",
    ),
    "crop transparent": Case(
        both(remove(CROP), draw(CROP.replace("jpg", "png"), "RGBA", (16, 16))),
        "transparency",
        "on black",
    ),
    "crop grey": Case(draw(CROP, "L", (16, 16)), "colours", "have the colours L"),
    "crop for print": Case(
        draw(CROP, "CMYK", (16, 16)), "colours", "have the colours CMYK"
    ),
    "crop huge": Case(
        draw(CROP, "L", (5000, 4000)),
        "unreadable",
        "too large for a crop",
        counts="va train 1 10 3 0",
        lost=1,
    ),
    "crop misnamed": Case(
        draw(f"{CROPS}/alpha/face.jpg", "L", (9, 9)), "name", "is no frame number"
    ),
    "crop after the end": Case(
        draw(f"{CROPS}/alpha/00013.jpg", "RGB", (16, 16)),
        "past_end",
        "after the last of",
        counts="va train 1 12 1 0",
        lost=-1,
    ),
    "hidden files": Case(put(f"{CROPS}/alpha/._00001.jpg", b"mac")),
    "no crop left": Case(
        remove(f"{CROPS}/beta_right/*"),
        "no_images",
        "no usable crop",
        counts="au train 1 0 11 1",
        lost=12,
    ),
    "crops gone": Case(
        remove(f"{CROPS}/beta_right"),
        "unknown_subject",
        "'beta_right'",
        counts="au train 1 0 11 1",
        lost=12,
    ),
    "video gone": Case(remove(BETA), "no_video", "no video beta"),
    "video empty": Case(put(ALPHA, b""), "video", "cannot be opened"),
    "video is text": Case(put(ALPHA, b"hello" * 99), "video", "cannot be opened"),
    "video without frames": Case(
        film(ALPHA, frames=0, seconds=1), "no_frames", "no pictures"
    ),
    "video without rate": Case(
        film(ALPHA, frames=0, seconds=1), "frame_rate", "30 a second taken"
    ),
    "sound truncated": Case(
        both(film(BETA, frames=40), cut(BETA, 0.5)),
        "frame_count",
        "the header claims 40 frames; 20 are shown",
    ),
    "sound silent": Case(film(ALPHA, loudness=0.0), "silent", "silent throughout"),
    "sound absent": Case(film(ALPHA, rate=None), "no_sound", "no sound track"),
    "sound late": Case(
        film(ALPHA, delay=0.4, seconds=0.8), "sound_gap", "filled with silence"
    ),
    "sound too long": Case(
        film(BETA, seconds=4), "sound_length", "lasts 4.0 s and the pictures 1.2 s"
    ),
    "sound of odd rate": Case(film(BETA, rate=12345)),
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("tiny") / "release")


@pytest.mark.parametrize("name", CASES)
def test_it_is_reported_and_costs_nothing_else(pristine, tmp_path, name):
    case = CASES[name]
    release = Path(shutil.copytree(pristine, tmp_path / "release"))
    case.damage(release)
    report = inspect(release, image_size=SIZE, workers=2)
    found = [a for a in report.anomalies if a.kind == case.kind and case.text in a.text]
    assert found if case.kind else len(report.anomalies) == 1, report.anomalies
    counts = dict(COUNTS)
    if case.counts:
        set_name, split, *numbers = case.counts.split()
        counts[f"{set_name} {split}"] = tuple(map(int, numbers))
    assert counts_of(report) == counts
    assert report.images == IMAGES - case.lost
