import dataclasses
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from abaw_jax.synthetic import SyntheticSettings, truth, write_release
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS, SETS, SPLITS

SETTINGS = SyntheticSettings(
    train_subjects=10, validation_subjects=4, seconds=5.0, fps=10, crop_size=32
)
SEED = 3
FOLDERS = {
    "va": "VA_Estimation_Challenge",
    "expr": "EXPR_Classification_Challenge",
    "au": "AU_Detection_Challenge",
}
PARTS = {"train": "Train_Set", "validation": "Validation_Set"}
HEADERS = {
    "va": "valence,arousal",
    "expr": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "au": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "release"
    write_release(root, SETTINGS, seed=SEED, workers=1)
    return root


def annotation_files(root: Path, name: str, split: str) -> list[Path]:
    folder = root / "Third ABAW Annotations" / FOLDERS[name] / PARTS[split]
    return sorted(folder.glob("*.txt"))


def read_rows(root: Path, name: str, split: str) -> dict[tuple[str, int], list[float]]:
    """Rows by subject and frame, fifteen numbers each, read as the challenge says."""
    rows: dict[tuple[str, int], list[float]] = {}
    if name == "mtl":
        path = root / "Third ABAW Annotations" / "MTL_Challenge" / f"{split}_set.txt"
        header, *lines = path.read_text().split("\n")
        assert header == "image,valence,arousal,expression,aus"
        for line in filter(None, lines):
            image, *fields = line.split(",")
            subject, _, file = image.partition("/")
            assert len(fields) == 15
            assert len(file) == len("00001.jpg")
            rows[subject, int(file[:5])] = [float(field) for field in fields]
        return rows
    before, after = {"va": (0, 13), "expr": (2, 12), "au": (3, 0)}[name]
    for path in annotation_files(root, name, split):
        header, *lines = path.read_bytes().decode().splitlines()
        assert header == HEADERS[name]
        for frame, line in enumerate(filter(None, lines), start=1):
            values = [float(field) for field in line.split(",")]
            invalid = [-5.0, -5.0] + [-1.0] * 13
            row = invalid[:before] + values + invalid[15 - after :]
            assert len(row) == 15
            rows[path.stem, frame] = row
    return rows


def images_of(root: Path) -> dict[str, set[int]]:
    return {
        folder.name: {int(path.stem) for path in folder.iterdir()}
        for folder in (root / "cropped_aligned").iterdir()
    }


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("split", SPLITS)
def test_truth_is_what_the_files_say(release: Path, name: str, split: str) -> None:
    rows, images = read_rows(release, name, split), images_of(release)
    expected = truth(SETTINGS, seed=SEED).labels[name, split]
    usable, without_image, invalid = [], 0, 0
    for (subject, frame), row in sorted(rows.items()):
        if row[0] == -5 and row[2] == -1 and set(row[3:]) == {-1}:
            invalid += 1
        elif frame not in images[subject]:
            without_image += 1
        else:
            usable.append((subject, frame, row))
    assert (without_image, invalid) == (
        expected.labels_without_image,
        expected.invalid_labels,
    )
    assert expected.subjects == tuple(sorted({subject for subject, _ in rows}))
    assert [subject for subject, _, _ in usable] == expected.subject.tolist()
    assert [frame for _, frame, _ in usable] == expected.frame.tolist()
    table = np.array([row for _, _, row in usable])
    va, expr, au = table[:, :2], table[:, 2], table[:, 3:]
    np.testing.assert_array_equal(expected.va_where, va[:, 0] != -5)
    np.testing.assert_array_equal(expected.expr_where, expr != -1)
    np.testing.assert_array_equal(expected.au_where, au != -1)
    np.testing.assert_array_equal(
        expected.va, np.where(va == -5, 0, va).astype(np.float32)
    )
    np.testing.assert_array_equal(expected.expr, np.maximum(expr, 0))
    np.testing.assert_array_equal(expected.au, np.maximum(au, 0))
    assert expected.va.dtype == np.float32
    assert expected.au.dtype == np.uint8


def test_crops_are_where_the_truth_says(release: Path) -> None:
    expected = truth(SETTINGS, seed=SEED)
    images = images_of(release)
    assert {name: set(map(int, v)) for name, v in expected.images.items()} == images
    frames = {p.name: v.num_frames for v in expected.videos for p in v.people}
    missing = sum(frames[name] - len(numbers) for name, numbers in images.items())
    assert missing / sum(frames.values()) == pytest.approx(0.04, abs=0.015)
    assert max(max(numbers) - frames[name] for name, numbers in images.items()) <= 0
    path = release / "cropped_aligned" / "video10_1_left"
    with Image.open(next(iter(sorted(path.iterdir())))) as image:
        assert (image.size, image.mode, image.format) == ((32, 32), "RGB", "JPEG")


def test_videos_decode_to_the_frames_and_sound_planned(release: Path) -> None:
    kinds = set()
    for video in truth(SETTINGS, seed=SEED).videos:
        with av.open(
            str(release / video.batch / f"{video.name}{video.extension}")
        ) as c:
            track = c.streams.audio[0]
            assert c.streams.video[0].average_rate == video.fps
            assert (track.rate, track.channels) == (video.sample_rate, video.channels)
            frames, samples, loudest = 0, 0, 0.0
            for frame in c.decode(video=0, audio=0):
                if isinstance(frame, av.VideoFrame):
                    frames += 1
                    assert (frame.width, frame.height) == SETTINGS.video_size
                else:
                    samples += frame.samples
                    loudest = max(loudest, float(np.abs(frame.to_ndarray()).max()))
        assert frames == video.num_frames
        seconds = video.num_frames / video.fps
        assert samples / video.sample_rate == pytest.approx(seconds, abs=0.1)
        assert loudest > 0.01
        kinds.add((video.sample_rate, video.channels, video.extension))
        if "-" in video.name:
            _, fps, size = video.name.split("-")
            assert (int(fps), size) == (video.fps, "96x72")
    assert {rate for rate, _, _ in kinds} == {22050, 44100, 48000}
    assert {channels for _, channels, _ in kinds} == {1, 2}
    assert {extension for _, _, extension in kinds} == {".mp4", ".avi"}


def test_quirks_of_the_official_release_are_there(release: Path) -> None:
    videos = truth(SETTINGS, seed=SEED).videos
    frames = {p.name: v.num_frames for v in videos for p in v.people}
    for name in ("video10_1_left", "video10_1_right", "video59", "video59_right"):
        assert (release / "cropped_aligned" / name).is_dir()
    assert (release / "batch1" / "video10_1.mp4").is_file()
    assert len({video.fps for video in videos}) > 1
    paths = [
        p for n in FOLDERS for s in SPLITS for p in annotation_files(release, n, s)
    ]
    surplus = Counter(
        len(list(filter(None, path.read_text().splitlines()))) - 1 - frames[path.stem]
        for path in paths
    )
    assert surplus.most_common(1)[0][0] == 1
    assert min(surplus) < 0 < 1 < max(surplus)
    contents = [path.read_bytes() for path in paths]
    assert any(b"\r\n" in c for c in contents) and any(b"\r" not in c for c in contents)
    assert any(c.endswith(b"\n\r\n") for c in contents)
    affect = b"".join(p.read_bytes() for p in paths if "VA_" in str(p))
    assert b"-5.0,-5.0" in affect or b"-5,-5" in affect
    lists = release / "Third ABAW Annotations" / "MTL_Challenge"
    named = [
        line.split(",")[0]
        for path in sorted(lists.iterdir())
        for line in path.read_text().split("\n")[1:-1]
    ]
    assert len(named) > len(set(named))
    tested = release / "names_of_videos_in_each_test_set"
    unlabelled = {path.read_text() for path in tested.iterdir()}
    assert len(list(tested.iterdir())) == 3
    assert unlabelled == {"250\n"}


def test_without_quirks_all_is_regular() -> None:
    plain = dataclasses.replace(SETTINGS, quirks=False, label_noise=0.0)
    expected = truth(plain, seed=SEED)
    assert all(len(video.people) == 1 for video in expected.videos)
    assert {(v.extension, v.fps) for v in expected.videos} == {(".mp4", plain.fps)}
    names = {split: set() for split in SPLITS}
    for (_, split), labels in expected.labels.items():
        names[split] |= set(labels.subjects)
    assert not names["train"] & names["validation"]
    count = {p.name: v.num_frames for v in expected.videos for p in v.people}
    labels = expected.labels["va", "train"]
    rows = len(labels.frame) + labels.labels_without_image
    assert rows == sum(count[name] for name in labels.subjects)
    assert labels.invalid_labels == 0


def test_only_the_mtl_training_set_borrows_from_a_validation_set() -> None:
    labels = truth(SETTINGS, seed=SEED).labels
    for name in ("va", "expr", "au"):
        for other in SETS:
            shared = set(labels[name, "train"].subjects)
            assert not shared & set(labels[other, "validation"].subjects)
    borrowed = set(labels["mtl", "train"].subjects)
    assert len(borrowed & set(labels["va", "validation"].subjects)) == 1
    assert not borrowed & set(labels["mtl", "validation"].subjects)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_labels_are_missing_in_the_proportions_of_the_challenge(seed: int) -> None:
    expected = truth(SyntheticSettings(), seed=seed)
    labels, train = expected.labels, expected.labels["mtl", "train"]
    borrowed = set(train.subjects) & set(labels["va", "validation"].subjects)
    sizes = np.array([len(labels[name, "train"].subjects) for name in SETS])
    sizes[3] -= len(borrowed)
    official = np.array([341, 248, 295, 257])
    np.testing.assert_allclose(sizes / official * 341 / sizes[0], 1, atol=0.12)
    flags = (train.va_where, train.expr_where, train.au_where.any(axis=1))
    where = np.stack(flags, axis=1)
    # Counted in ABAW3: of 142 225 usable rows 103 900, 90 650 and 103 300; all 52 154.
    np.testing.assert_allclose(where.mean(axis=0), [0.73, 0.64, 0.73], atol=0.06)
    assert where.all(axis=1).mean() == pytest.approx(0.37, abs=0.06)
    validation = labels["mtl", "validation"]
    assert validation.va_where.all() and validation.au_where.any(axis=1).all()
    assert 0.4 < validation.expr_where.mean() < 0.75
    tasks: dict[tuple[str, int], set[int]] = {}
    for name in SETS:
        part = labels[name, "train"]
        flags = (part.va_where, part.expr_where, part.au_where.any(axis=1))
        for task, flag in enumerate(flags):
            rows = zip(part.subject[flag], part.frame[flag], strict=True)
            for row in rows:
                tasks.setdefault(row, set()).add(task)
    number = np.array([len(labelled) for labelled in tasks.values()])
    share = np.bincount(number, minlength=4)[1:] / len(number)
    assert share[0] > 0.6
    assert 0 < share[2] < 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("split", SPLITS)
def test_every_class_occurs_where_windows_reach(split: str, seed: int) -> None:
    expected = truth(SyntheticSettings(), seed=seed)
    fps = {p.name: v.fps for v in expected.videos for p in v.people}

    def late(labels) -> np.ndarray:
        rates = np.array([fps[name] for name in labels.subject])
        return labels.frame > 10 * rates

    expressions = expected.labels["expr", split]
    counts = np.bincount(
        expressions.expr[late(expressions)], minlength=len(EXPRESSIONS)
    )
    assert counts.min() >= 15
    assert counts.max() > 2.5 * counts.min()
    units = expected.labels["au", split]
    rates = units.au[late(units)].mean(axis=0)
    assert rates.min() > 0.02
    assert rates[ACTION_UNITS.index("AU25")] == rates.max() > 0.5
