"""The lines of the README that use a trained network run as they are written."""

import csv
import re
from pathlib import Path

from abaw_jax.inference.model_folder import write_model
from tests.support.tiny_model import make_config, make_contract, make_networks
from tests.support.tiny_release import write_video


def test_they_predict_a_video(tmp_path, monkeypatch, capsys):
    readme = Path(__file__).parents[2] / "README.md"
    (lines,) = re.findall(r"```py\n(.*?)```", readme.read_text(), re.DOTALL)
    config = make_config()
    write_model(tmp_path / "runs/model", make_contract(config), make_networks(config))
    write_video(tmp_path / "CLIP.mp4")  # of twelve frames
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, readme, "exec"), {})
    with (tmp_path / "CLIP.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["1", "11"]
    shown = capsys.readouterr().out
    assert "'valence'" in shown and all(row["valence"] for row in rows)
