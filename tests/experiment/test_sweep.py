"""The table of many runs: groups, pairs, files that say what the rows say."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.measure import Measurement
from scipy import stats

from abaw_jax.evaluation import seed_plot
from abaw_jax.evaluation.tables import (
    Laboratory,
    Row,
    as_json,
    as_latex,
    as_markdown,
)
from abaw_jax.evaluation.terminal_tables import as_tables, intervals_table
from abaw_jax.experiment.sweep import describe
from abaw_jax.report.console import COLUMNS

DELTAS = ("-", "0.5", "1", "0->1")
SEEDS = range(5)
LEVELS = {
    "linear_probe": dict.fromkeys(COLUMNS, 0.2),
    "chance": dict.fromkeys(COLUMNS, 0.1),
}
WIDE = Console(width=200)


def make_laboratory(seeds=SEEDS, gain=0.05):
    """Students better in expressions by ``gain`` give or take; else only noise."""
    rng = np.random.default_rng(0)
    rows = []
    for role in ("teacher", "student"):
        for delta in DELTAS:
            for seed in seeds:
                scores = {key: 0.4 + rng.normal(0, 0.01) for key in COLUMNS}
                scores["expr"] += gain * (role == "student")
                rows.append(Row(role, {"delta": delta}, seed, scores))
    return Laboratory(rows, LEVELS, "Invented numbers.")


def test_groups_are_means_over_seeds_in_the_order_of_the_rows():
    laboratory = make_laboratory()
    groups = laboratory.groups()
    assert [(g.role, g.variant) for g in groups] == [
        (role, f"δ {delta}") for role in ("teacher", "student") for delta in DELTAS
    ]
    values = [r.scores["au"] for r in laboratory.rows[:5]]
    assert groups[0].scores["au"].mean == pytest.approx(np.mean(values))
    assert groups[0].runs == 5


def test_a_difference_is_paired_by_seed():
    laboratory = make_laboratory()
    first = laboratory.differences()[0]
    assert (first.better, first.than, first.variant) == ("student", "teacher", "δ -")
    teacher, student = (
        [r.scores["expr"] for r in laboratory.rows if r.role == role][:5]
        for role in ("teacher", "student")
    )
    test = stats.ttest_rel(student, teacher)
    expected = test.confidence_interval(0.95)
    assert tuple(first.scores["expr"])[1:] == pytest.approx(
        (expected.low, expected.high)
    )
    assert first.scores["expr"].verdict == "better"


def test_every_role_and_every_change_is_compared():
    found = make_laboratory().differences()
    pairs = {(d.better, d.variant, d.than) for d in found}
    assert len(found) == len(pairs) == 4 + 2 * 3
    assert ("teacher", "δ 1", "δ -") in pairs
    assert ("student", "δ 0->1", "teacher") in pairs


def test_seeds_that_only_one_side_has_are_left_out():
    laboratory = make_laboratory()
    rows = [r for r in laboratory.rows if (r.role, r.seed) != ("student", 3)]
    found = Laboratory(rows, LEVELS, "").differences()[0]
    assert found.runs == 4


def test_the_json_holds_every_row_and_is_strict():
    laboratory = make_laboratory(seeds=[0])
    text = as_json(laboratory)
    assert "NaN" not in text
    found = json.loads(text)
    assert len(found["rows"]) == 8
    row = found["rows"][0]
    assert (row["role"], row["delta"], row["seed"]) == ("teacher", "-", 0)
    assert row["scores"] == pytest.approx(laboratory.rows[0].scores)
    mean, low, high = found["summary"][0]["scores"]["mtl"]
    assert mean == pytest.approx(laboratory.rows[0].scores["mtl"])
    assert low is high is None


def test_the_markdown_is_a_table_with_intervals_stars_and_what_it_is_about():
    text = as_markdown(make_laboratory())
    lines = text.splitlines()
    assert lines[0].startswith("|  | run | EXPR | AU | VA | V | A | MTL |")
    assert all(line.count("|") == 9 for line in lines if line.startswith("|"))
    assert lines[2].startswith("| teacher | δ - (5) | 0.4")
    assert " ± 0.0" in lines[2]
    assert "| chance | no input | 0.100 |" in text
    assert "| linear probe |  | 0.200 |" in text
    (gain,) = [
        line for line in lines if line.startswith("| student - teacher | δ - (5)")
    ]
    assert gain.split("|")[3].strip().endswith("*") and "+0.0" in gain
    assert "Invented numbers." in lines[-1] and "95 %" in lines[-1]


def test_the_latex_is_escaped_and_balanced():
    text = as_latex(make_laboratory())
    assert text.count("{") == text.count("}")
    assert text.count(r"\begin") == text.count(r"\end") == 2
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 8 + 2 and all(row.count("&") == 7 for row in rows)
    assert r"95 \%" in text and "±" not in text


def test_the_terminal_shows_both_tables_and_what_they_are_about():
    scores, differences, note = as_tables(make_laboratory())
    assert scores.row_count == 10 and differences.row_count == 10 + 3
    for table in (scores, differences):
        assert Measurement.get(WIDE, WIDE.options, table).maximum <= 80
    assert "Invented numbers." in note


def make_causes() -> Laboratory:
    """Two settings that a teacher does not know, and cannot differ by."""
    changes = ({"alpha": "10"}, {"alpha": "0", "joint": "0", "distilled": "1"})
    rows = [
        Row(role, changed, seed, dict.fromkeys(COLUMNS, 0.1 * seed + gain * index))
        for role, gain in (("teacher", 0.0), ("student", 0.25))
        for index, changed in enumerate(changes)
        for seed in range(3)
    ]
    return Laboratory(rows, LEVELS, "Invented numbers.")


def test_runs_that_are_the_same_twice_are_not_compared():
    found = [(each.better, each.than) for each in make_causes().differences()]
    assert found == [
        ("student", "teacher"),
        ("student", "\N{GREEK SMALL LETTER ALPHA} 10"),
    ]


def test_a_long_name_of_a_run_cuts_no_score_on_the_terminal():
    console = Console(width=80, record=True, quiet=False, file=io.StringIO())
    for part in as_tables(make_causes()):
        console.print(part)
    shown = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert shown.count(".350±.248") == len(COLUMNS) - 1


def test_greek_letters_are_commands_in_latex():
    assert r"$\alpha$ 10" in as_latex(make_causes())


def test_the_intervals_of_one_run_fit_a_terminal():
    wide = dict.fromkeys(COLUMNS, (-0.1, -0.154, -0.042))
    table = intervals_table({"teacher": wide, "student - teacher": wide})
    assert Measurement.get(WIDE, WIDE.options, table).maximum <= 80
    console = Console(width=80, record=True, quiet=False, file=io.StringIO())
    console.print(table)
    shown = console.export_text()
    assert shown.count("-.15\N{EN DASH}-.04") == 2 * (len(COLUMNS) - 1)
    assert shown.index("teacher") < shown.index("student - teacher")


def test_the_picture_is_the_same_bytes_every_time(tmp_path):
    for name in ("one", "two"):
        seed_plot.draw(make_laboratory(), tmp_path / f"{name}.png")
    with Image.open(tmp_path / "one.png") as image:
        assert image.width > 1000 and len(image.getcolors(1 << 20)) > 20
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(
    "changes, shown",
    [
        ({"loss.discriminator": (0.0, 0.0), "seed": 3}, {"delta": "-"}),
        ({"loss.discriminator": (0.5, 0.5)}, {"delta": "0.5"}),
        ({"loss.discriminator": (0.0, 1.0)}, {"delta": "0->1"}),
        (
            {"loss.supervised": 5.0, "loss.ramp": "epoch"},
            {"alpha": "5", "ramp": "epoch"},
        ),
        ({"seed": 1}, {}),
    ],
)
def test_changes_are_reported_in_the_words_of_the_paper(changes, shown):
    assert describe(changes) == shown


def test_a_run_without_changes_says_so():
    assert Row("teacher", {}, 0, {}).variant == "as configured"
