"""The figure of a face over time leaves gaps where there is no face."""

import numpy as np
import pytest
from PIL import Image

from abaw_jax.inference.prediction import UNIT_NAMES
from abaw_jax.inference.timeline_plot import _times, draw_timeline
from abaw_jax.tasks import AFFECT, EXPRESSIONS


def test_a_gap_gets_a_time_of_its_own():
    time, gaps = _times([0.0, 0.1, 0.2, 1.0, 1.1])
    np.testing.assert_allclose(time, [0, 0.1, 0.2, 0.6, 1.0, 1.1])
    assert gaps.tolist() == [3]
    assert _times([0.5])[0].tolist() == [0.5]


def test_a_table_without_a_face_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("frame,time,face\n1,0,\n")
    with pytest.raises(ValueError, match=r"a\.csv has no face to draw"):
        draw_timeline(tmp_path / "a.csv", tmp_path / "a.png")


def test_a_name_is_no_formula(tmp_path):
    """Between dollars Matplotlib reads formulas, and raises at one that is none."""
    names = ("time", "face", *AFFECT, *EXPRESSIONS, *UNIT_NAMES)
    rows = [",".join([f"{k}", "1", *["0.1"] * (len(names) - 2)]) for k in range(3)]
    table = tmp_path / "a$\\frac$\x1b\n.csv"
    table.write_text("\n".join([",".join(names), *rows]))
    draw_timeline(table, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 500
