"""The figure of a face spans its video, and has gaps where there is no face."""

from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from abaw_jax.inference import timeline_plot
from abaw_jax.inference.prediction_table import COLUMNS, UNIT_NAMES, write_table
from abaw_jax.inference.timeline_plot import draw_timeline
from abaw_jax.tasks import AFFECT, EXPRESSIONS


def row(frame, face=None, fps=10):
    values = dict.fromkeys((*AFFECT, *EXPRESSIONS, *UNIT_NAMES), 0.1)
    found = values | {"valence": 0.01 * frame, "face": face} if face is not None else {}
    return dict.fromkeys(COLUMNS) | {"frame": frame, "time": (frame - 1) / fps} | found


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws rows; gives the three panels."""
    figures = []
    saved = timeline_plot.new_figure

    @contextmanager
    def kept(*given):
        with saved(*given) as figure:
            figures.append(figure)
            yield figure

    monkeypatch.setattr(timeline_plot, "new_figure", kept)

    def draw(rows):
        write_table(tmp_path / "a.csv", rows)
        draw_timeline(tmp_path / "a.csv", tmp_path / "a.png")
        with Image.open(tmp_path / "a.png") as image:
            assert image.width > 500
        return figures[-1].axes[:3]

    return draw


def valence(panel):
    return next(line for line in panel.lines if line.get_label() == "valence")


def units(panel):
    """Edges and values of the action units' cells."""
    (mesh,) = panel.collections
    return mesh.get_coordinates()[0, :, 0], mesh.get_array().filled(np.nan)


def covered(panel):
    """Ranges of time that the first expression has an area over."""
    return [
        (round(path.vertices[:, 0].min(), 6), round(path.vertices[:, 0].max(), 6))
        for path in panel.collections[0].get_paths()
    ]


def test_a_gap_is_a_gap_in_every_panel(drawn):
    rows = [row(n, None if 4 <= n <= 6 else 0) for n in range(1, 11)]
    top, middle, bottom = drawn(rows)
    time, values = valence(top).get_data()
    np.testing.assert_allclose(time, np.arange(10) / 10)
    assert np.flatnonzero(np.isnan(values)).tolist() == [3, 4, 5]
    assert covered(middle) == [(0, 0.3), (0.6, 1)]
    edges, cells = units(bottom)
    np.testing.assert_allclose(edges, np.arange(11) / 10)
    assert np.flatnonzero(np.isnan(cells[0])).tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("faces", "line"),
    [(range(4, 11), 7), (range(1, 4), 3), (range(4, 8), 4)],
    ids=["start", "end", "both"],
)
def test_the_axis_spans_frames_without_a_face(drawn, faces, line):
    panels = drawn([row(n, 0 if n in faces else None) for n in range(1, 11)])
    for panel in panels:
        assert panel.get_xlim() == pytest.approx((0, 1))
    assert np.isfinite(valence(panels[0]).get_ydata()).sum() == line


@pytest.mark.parametrize("every", [2, 10])
def test_frames_that_were_not_predicted_are_no_gap(drawn, every):
    top, middle, _ = drawn([row(n, 0) for n in range(1, 61, every)])
    line = valence(top)
    assert np.isfinite(line.get_ydata()).all()
    assert len(line.get_xdata()) == 60 / every
    assert covered(middle) == [(0, 6)] and top.get_xlim() == pytest.approx((0, 6))


def test_a_frame_alone_is_a_dot(drawn):
    top, middle, _ = drawn([row(n, 0 if n in (1, 2, 5) else None) for n in range(1, 7)])
    assert valence(top).get_markevery() == [4]
    assert covered(middle) == [(0, 0.2), (0.4, 0.5)]
    (only, *_) = drawn([row(1, 0)])
    assert valence(only).get_markevery() == [0] and only.get_xlim()[1] > 0


def test_of_several_faces_the_most_frequent_is_drawn(drawn):
    rows = [row(1, 7), row(1, 8), row(2, 8), row(3, 7), row(3, 8), row(4, 9)]
    top, *_ = drawn(rows)
    assert top.get_title(loc="left") == "a: face 8, one of 3"
    np.testing.assert_allclose(valence(top).get_ydata(), [0.01, 0.02, 0.03, np.nan])


def test_a_table_without_a_face_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("frame,time,face\n1,0,\n")
    with pytest.raises(ValueError, match=r"a\.csv has no face to draw"):
        draw_timeline(tmp_path / "a.csv", tmp_path / "a.png")


def test_a_name_is_no_formula(tmp_path):
    """Between dollars Matplotlib reads formulas, and raises at one that is none."""
    table = tmp_path / "a$\\frac$\x1b\n.csv"
    write_table(table, [row(n, 1) for n in range(1, 4)])
    draw_timeline(table, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 500
