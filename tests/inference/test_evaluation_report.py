"""The page of an evaluation: what was scored, whatever is missing, no script."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from abaw_jax.evaluation.class_scores import confusion
from abaw_jax.evaluation.validation import home_set
from abaw_jax.evaluation.video_intervals import intervals
from abaw_jax.inference.evaluation_report import Evaluated, evaluation_page
from abaw_jax.report.html_page import DASH
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from tests.support.made_up_scores import make_outputs, make_samples

EVIL = "<script>alert('1')</script>\x1b[2J\n\udcff"
SHOWN = "<script>alert('1')</script>\\x1b[2J\\n\\udcff"
VIDEOS = [f"video{k}" for k in range(11)] + [EVIL]
TASKS_OF = {"va": ("va",), "expr": ("expr",), "au": ("au",)}


def make_curves():
    records = [
        {"epoch": epoch, "loss": 3 / epoch, "valence": 0.1 * epoch, "au": 0.2}
        for epoch in (1, 2, 3)
    ]
    levels = {"linear_probe": {"valence": 0.2}, "chance": {"valence": 0.0}}
    return {"records": {"student": records}, "levels": levels, "chosen": {"student": 2}}


def make_evaluated(sets=("va", "expr", "au"), videos=VIDEOS, **changes):
    subject = np.repeat(np.arange(len(videos)), 25)
    samples = {
        name: make_samples(subject, seed=k, tasks=TASKS_OF.get(name, ("va", "au")))
        for k, name in enumerate(sets)
    }
    outputs = {name: make_outputs(each) for name, each in samples.items()}
    store = SimpleNamespace(subjects=[SimpleNamespace(video=each) for each in videos])
    found = intervals(store, samples, SimpleNamespace(together=outputs))
    classes = {}
    if home_set("expr", samples):
        classes["expressions"] = dict.fromkeys(EXPRESSIONS, 0.321)
    if home_set("au", samples):
        classes["action units"] = dict.fromkeys(ACTION_UNITS, 0.432)
    results = {
        "student": {key: each.mean for key, each in found.items()},
        "chance": dict.fromkeys(found, 0.1),
        "intervals": {"student": {key: each.plain for key, each in found.items()}},
        "classes": classes,
        "settings": {"store": "abc", "data": "people", "model": {"heads": "00ff"}},
    }
    contract = {
        "name": "model",
        "role": "student",
        "made_by": {"abaw_jax": "0.1.0", "jax": "0.10"},
        "data": {"name": "people"},
        "config": {"train": {"lr": 0.001}, "name": "x"},
    }
    return replace(Evaluated(contract, store, samples, outputs, results), **changes)


class Reader(HTMLParser):
    """Tags with their attributes, and the cells of every table by its name."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.tables, self.open = [], {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.open += [] if tag in ("meta", "img") else [tag]
        if attrs.get("role") == "region":
            self.rows = self.tables[attrs["aria-label"]] = []
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            assert self.open, f"{tag} was not open"

    def handle_data(self, data):
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def whole():
    found = make_evaluated(curves=make_curves())
    return found, evaluation_page(found)


def headings(page):
    return re.findall(r"<h2 id=(\w+)", page)


EVERYTHING = [
    *("scores", "training", "affect", "expressions", "units", "videos", "settings"),
]


def test_the_page_stands_alone(whole):
    _, page = whole
    assert headings(page) == EVERYTHING
    assert "<script" not in page and "http" not in page and "@import" not in page
    assert len(page) < 1_000_000
    tags = Reader(page).tags
    pictures = [attrs for tag, attrs in tags if tag == "img"]
    assert len(pictures) == 3 + 2 + 2
    for each in pictures:
        assert each["src"].startswith("data:image/svg+xml;base64,")
        assert len(each["alt"]) > 20
        picture = base64.b64decode(each["src"].partition(",")[2])
        assert picture.rstrip().endswith(b"</svg>") and b"<script" not in picture
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object")]


def test_every_column_has_a_head(whole):
    for name, (head, *rows) in Reader(whole[1]).tables.items():
        assert all(head), name
        assert rows and {len(row) for row in rows} == {len(head)}, name


def test_scores_are_those_of_the_results(whole):
    found, page = whole
    rows = {row[0]: row[1:4] for row in Reader(page).tables["Scores"][1:]}
    bounds = found.results["intervals"]["student"]
    assert set(rows) == {"VA", "valence", "arousal", "EXPR", "AU"}
    for name, key in (("valence", "valence"), ("EXPR", "expr"), ("AU", "au")):
        score, low, high = bounds[key]
        assert rows[name] == [f"{score:.3f}", f"{low:.3f} to {high:.3f}", "0.100"]


def test_classes_are_those_of_the_results_with_their_prevalence(whole):
    found, page = whole
    tables, samples = Reader(page).tables, found.samples["expr"]
    for row in tables["Expressions"][1:]:
        holds = samples.expr[samples.expr_where] == EXPRESSIONS.index(row[0])
        assert row[2] == "0.321" and row[5] == f"{holds.mean():.1%}"
    for k, row in enumerate(tables["Action units"][1:]):
        units = found.samples["au"]
        share = units.au[units.au_where[:, k], k].mean()
        assert row[0].startswith(f"{ACTION_UNITS[k]} ")
        assert (row[2], row[5], row[8]) == ("0.432", f"{share:.1%}", "0.50")


def test_confusion_is_in_percent_of_the_labels(whole):
    found, page = whole
    samples, logits = found.samples["expr"], found.outputs["expr"]["expr"]
    counts = confusion(logits.argmax(-1), samples.expr, samples.expr_where)
    rows = Reader(page).tables["Confusion of expressions"][1:]
    shares = 100 * counts / counts.sum(1, keepdims=True)
    assert [row[1:] for row in rows] == [[f"{s:.0f}" for s in row] for row in shares]
    assert rows[0][0] == f"Neutral ({counts[0].sum()})"


def test_text_from_outside_is_text(whole):
    found, _ = whole
    contract = found.contract | {
        "name": EVIL,
        "role": EVIL,
        "data": {"name": EVIL},
        "made_by": {"abaw_jax": EVIL},
        "config": {EVIL: {"field": EVIL}},
    }
    settings = {"store": EVIL, "data": EVIL, "model": {EVIL: EVIL}}
    results = found.results | {"settings": settings, EVIL: found.results["student"]}
    results["intervals"] = {EVIL: found.results["intervals"]["student"]}
    curves = make_curves()
    curves["records"] = {EVIL: curves["records"]["student"]}
    # The video of that name is the worst of all.
    worst = found.samples["va"].subject == VIDEOS.index(EVIL)
    outputs = {name: dict(each) for name, each in found.outputs.items()}
    outputs["va"]["va"] = outputs["va"]["va"].copy()
    outputs["va"]["va"][worst] *= -1
    changed = replace(
        found, contract=contract, results=results, curves=curves, outputs=outputs
    )
    page = evaluation_page(changed)
    assert "<script" not in page.lower() and "alert('" not in page
    assert Reader(page).tables["Worst videos"][1][:2] == ["va", SHOWN]


def test_the_same_scores_make_the_same_page(whole):
    found, page = whole
    assert evaluation_page(found) == page


def test_curves_only_of_a_named_run(whole):
    assert "training" not in headings(evaluation_page(replace(whole[0], curves=None)))


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (("va",), ["scores", "affect", "videos", "settings"]),
        (("expr",), ["scores", "expressions", "videos", "settings"]),
        # The multi-task set here has no expressions, though it is their home.
        (("mtl",), ["scores", "affect", "units", "videos", "settings"]),
    ],
)
def test_a_task_without_labels_is_left_out(sets, expected):
    page = evaluation_page(make_evaluated(sets))
    assert headings(page) == expected
    columns = np.array(Reader(page).tables["Worst videos"][1:])[:, 5:].T
    empty = [set(column) == {DASH} for column in columns.tolist()]
    assert empty == [sets == ("expr",), sets != ("expr",), sets != ("mtl",)]


def test_one_video_has_no_interval_and_no_rise():
    page = evaluation_page(make_evaluated(videos=["only"]))
    tables = Reader(page).tables
    assert {row[2] for row in tables["Scores"][1:]} == {DASH}
    assert [row[:5] for row in tables["Worst videos"][1:]] == [
        [name, "only", "25", DASH, DASH] for name in ("va", "expr", "au")
    ]


def test_a_class_without_labels_has_dashes():
    found = make_evaluated()
    found.samples["au"].au_where[:, 0] = False
    found.samples["au"].au[:, 1] = 0
    samples = found.samples["expr"]
    samples.expr[samples.expr == 3] = 0
    tables = Reader(evaluation_page(found)).tables
    unknown, never = tables["Action units"][1:3]
    assert unknown[3:] == [DASH, DASH, DASH, DASH, DASH, "0.50", DASH, DASH]
    assert never[4:6] == [DASH, "0.0%"] and never[9:] == [DASH, DASH]
    assert tables["Confusion of expressions"][4][1:] == [DASH] * 8
    assert tables["Expressions"][4][5] == "0.0%"


def test_predictions_that_are_no_numbers_are_told_and_left_out(whole):
    found, _ = whole
    outputs = {name: dict(each) for name, each in found.outputs.items()}
    for name in outputs:
        outputs[name] = {task: v.copy() for task, v in outputs[name].items()}
        outputs[name][name][:30] = np.nan
    nothing = dict.fromkeys(found.results["student"], np.nan)
    bounds = {key: (None, None, None) for key in nothing}
    classes = {
        name: dict.fromkeys(scores, np.nan)
        for name, scores in found.results["classes"].items()
    }
    results = found.results | {"student": nothing, "classes": classes}
    results["intervals"] = {"student": bounds}
    page = evaluation_page(replace(found, outputs=outputs, results=results))
    assert "nan" not in re.sub(r"base64,[^']+", "", page).lower()
    lost = found.samples["va"].va_where[:30].sum()
    assert f"{lost} frames of va have a prediction that is no finite number" in page
    tables = Reader(page).tables
    assert {tuple(row[1:3]) for row in tables["Scores"][1:]} == {(DASH, DASH)}
    assert {row[2] for row in tables["Action units"][1:]} == {DASH}
    assert headings(page) == EVERYTHING


def test_no_finite_prediction_at_all_leaves_the_scores(whole):
    found, _ = whole
    outputs = {
        name: {task: np.full_like(v, np.nan) for task, v in each.items()}
        for name, each in found.outputs.items()
    }
    page = evaluation_page(replace(found, outputs=outputs))
    assert headings(page) == ["scores", "training", "settings"]


def test_settings_are_listed_and_closed(whole):
    page = whole[1]
    assert "train.lr = 0.001" in page and "model.heads = 00ff" in page
    assert page.count("<details>") == 3 and "<details open" not in page
