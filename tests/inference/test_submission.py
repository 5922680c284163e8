"""Files of the challenges: rows in the order of the list, forms of the editions."""

import zipfile

import numpy as np
import pytest

from abaw_jax.inference.submission import (
    EDITIONS,
    Track,
    fill_track,
    read_template,
    write_submission,
)

UNITS = "1,0,0,0,0,0,0,0,0,0,0,1"


def outputs(count, networks=2):
    """Valence is the index of the frame over 10, its class the index, unit 1 is on."""
    index = np.arange(count, dtype=np.float32)
    va = np.stack([index / 10, -index / 10], -1)
    au = np.tile(np.where(np.isin(np.arange(12), (0, 11)), 3.0, -3.0), (count, 1))
    each = {"va": va, "expr": 9 * np.eye(8)[index.astype(int)], "au": au}
    return {task: np.stack([values] * networks) for task, values in each.items()}


def track():
    frames = [("b", 2), ("a", 1), ("a", 3), ("b", 1)]
    return fill_track(frames, [("a", 1), ("a", 3), ("b", 1), ("b", 2)], outputs(4))


def packed(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_frame_without_an_image_has_the_values_of_the_last_one():
    frames = [("a", n) for n in range(1, 6)] + [("b", 7), ("nobody", 1)]
    found = fill_track(frames, [("a", 2), ("a", 4), ("b", 9)], outputs(3))
    np.testing.assert_allclose(found.va[:, 0], [0, 0, 0, 0.1, 0.1, 0.2, 0.1])
    assert found.expr[:6].tolist() == [0, 0, 0, 1, 1, 2]
    assert (found.carried, found.guessed) == (4, 1)


def test_an_ensemble_says_the_mean():
    two = outputs(1)
    two["va"][1] = [[0.4, 0.2]]
    two["au"][1] = -3.1
    found = fill_track([("a", 1)], [("a", 1)], two)
    np.testing.assert_allclose(found.va, [[0.2, 0.1]], atol=1e-7)
    assert found.au.sum() == 0


def test_files_by_video(tmp_path):
    tracks = {name: track() for name in ("va", "expr", "au", "mtl")}
    zips = write_submission(tracks, 3, tmp_path)
    assert [path.name for path in zips] == ["au.zip", "expr.zip", "mtl.zip", "va.zip"]
    assert packed(tmp_path / "va.zip") == {
        "a.txt": "valence,arousal\n0.0000,0.0000\n0.1000,-0.1000\n",
        "b.txt": "valence,arousal\n0.2000,-0.2000\n0.3000,-0.3000\n",
    }
    expressions = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    assert packed(tmp_path / "expr.zip")["b.txt"] == f"{expressions}\n2\n3\n"
    units = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
    assert packed(tmp_path / "au.zip")["a.txt"] == f"{units}\n{UNITS}\n{UNITS}\n"


def test_one_file_for_the_multi_task_track(tmp_path):
    (path,) = write_submission({"mtl": track(), "va": track()}, 7, tmp_path)
    assert packed(path) == {
        "mtl.txt": "image,valence,arousal,expression,aus\n"
        f"b/00002.jpg,0.3000,-0.3000,3,{UNITS}\n"
        f"a/00001.jpg,0.0000,0.0000,0,{UNITS}\n"
        f"a/00003.jpg,0.1000,-0.1000,1,{UNITS}\n"
        f"b/00001.jpg,0.2000,-0.2000,2,{UNITS}\n"
    }


def test_one_file_a_task_in_the_order_of_the_template(tmp_path):
    zips = write_submission({"va": track(), "expr": track()}, 8, tmp_path)
    assert [path.name for path in zips] == ["expr.zip", "va.zip"]
    assert packed(zips[0])["expr.txt"].splitlines()[:3] == [
        "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
        "b/00002.jpg,3",
        "a/00001.jpg,0",
    ]
    assert packed(zips[1])["va.txt"].splitlines()[1] == "b/00002.jpg,0.3000,-0.3000"


def test_every_edition_has_a_form():
    assert [*EDITIONS] == [*range(1, 12)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"va": np.full((4, 2), 2.0)}, r"va.txt has values out of range"),
        ({"va": np.full((4, 2), np.nan)}, "out of range"),
        ({"va": np.zeros((4, 3))}, "rows without 2 values"),
        ({"frames": [("a", 1)] * 4}, "an image twice"),
    ],
)
def test_a_wrong_file_is_not_packed(tmp_path, change, message):
    wrong = Track(**vars(track()) | change)
    with pytest.raises(ValueError, match=message):
        write_submission({"va": wrong}, 5, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_an_edition_without_the_track_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"edition 4 asks for joint files; .* va"):
        write_submission({"va": track()}, 4, tmp_path)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("image_location,valence,arousal", "va"),
        ("image_location,Neutral,Anger,Disgust", "expr"),
        ("image_location,AU1,AU2,AU4", "au"),
        ("image,valence,arousal,expression,aus", "mtl"),
    ],
)
def test_templates_are_known_by_their_header(tmp_path, header, name):
    path = tmp_path / "template.txt"
    path.write_text(f"\ufeff{header}\nvideo1_left/00012.jpg,0\n1-2/00001.jpg\n\n")
    assert read_template(path) == (name, [("video1_left", 12), ("1-2", 1)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header of no template"),
        ("video1\nvideo2\n", "header of no template"),
        (
            "image_location,valence,arousal\nvideo1\n",
            "line 2: 'video1' is not of the form",
        ),
        ("image,valence,arousal,expression\n\n", r"template\.txt names no image"),
        (
            "image_location,AU1\na/00001.jpg\nb/1.jpg\na/1.jpg\n",
            r"template\.txt, line 4: 'a/1\.jpg' is there twice",
        ),
    ],
)
def test_other_lists_are_refused(tmp_path, text, message):
    path = tmp_path / "template.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_template(path)
