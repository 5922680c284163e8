"""The figure of a face over time leaves gaps where there is no face."""

import numpy as np
import pytest

from abaw_jax.inference.timeline_plot import _times, draw_timeline


def test_a_gap_gets_a_time_of_its_own():
    time, gaps = _times([0.0, 0.1, 0.2, 1.0, 1.1])
    np.testing.assert_allclose(time, [0, 0.1, 0.2, 0.6, 1.0, 1.1])
    assert gaps.tolist() == [3]
    assert _times([0.5])[0].tolist() == [0.5]


def test_a_table_without_a_face_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("frame,time,face\n1,0,\n")
    with pytest.raises(ValueError, match=r"a\.csv has no face to draw"):
        draw_timeline(tmp_path / "a.csv", tmp_path / "a.png")
