import numpy as np
import pytest
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from PIL import Image

from abaw_jax.evaluation import plot_style, plots
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS

CHANCE = {
    "va": 0.0,
    "valence": 0.0,
    "arousal": 0.0,
    "expr": 0.125,
    "au": 0.31,
    "mtl": 0.435,
}
LEVELS = {"linear_probe": {"au": 0.4, "mtl": 0.9}, "chance": CHANCE}
UNIT_CHANCE = np.linspace(0.5, 0.1, 12)


def run(seed, epochs, level):
    """Made-up records that rise towards ``level`` and wobble, single steps between."""
    rng = np.random.default_rng(seed)
    records = []
    for epoch in range(1, epochs + 1):
        records.append({"epoch": epoch, "chunk": 1, "va/loss": 99.0})
        reached = 1 - np.exp(-epoch / 4)
        scores = {
            key: base + (level - base) * reached + rng.normal(0, 0.01)
            for key, base in CHANCE.items()
        }
        records.append({"epoch": epoch, "loss": 3 - 2 * reached, **scores})
    return records


@pytest.fixture
def records():
    return {"teacher": run(0, 14, 0.48), "student": run(1, 18, 0.55)}


@pytest.fixture
def va():
    rng = np.random.default_rng(2)
    labels = np.clip(rng.normal([0.2, 0.1], [0.4, 0.3], (20_000, 2)), -1, 1)
    predictions = np.tanh(0.7 * labels + rng.normal(0, 0.2, labels.shape))
    return plots.Compared(predictions, labels, rng.random(len(labels)) < 0.9)


@pytest.fixture
def expr():
    rng = np.random.default_rng(3)
    labels = rng.choice(8, 9_000, p=[0.3, 0.05, 0.05, 0.05, 0.2, 0.15, 0.1, 0.1])
    guess = rng.choice(8, len(labels))
    predictions = np.where(rng.random(len(labels)) < 0.5, labels, guess)
    return plots.Compared(predictions, labels, np.ones(len(labels), bool))


@pytest.fixture
def units():
    rng = np.random.default_rng(4)
    teacher = np.clip(UNIT_CHANCE + rng.uniform(0.0, 0.3, 12), 0, 1)
    return {"teacher": teacher, "student": np.clip(teacher + 0.04, 0, 1)}


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def share(image, colour, tolerance=12):
    """Share of the pixels that have about this colour, ``"#RRGGBB"``."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return (np.abs(image.astype(int) - wanted).max(-1) <= tolerance).mean()


def test_learning_curves(records, tmp_path):
    plots.learning_curves(records, LEVELS, tmp_path / "plots" / "curves.png")
    image = pixels(tmp_path / "plots" / "curves.png")
    assert image.shape == (600, 1100, 3)
    for colour in (
        *(plot_style.COLOURS[stage] for stage in records),
        plot_style.CHANCE,
    ):
        assert share(image, colour) > 0.0005


def drawn(draw, *arguments):
    """What the axes hold after ``draw(axes, ...)``."""
    with rc_context(plot_style.STYLE):
        axes = Figure().subplots()
        draw(axes, *arguments)
        return axes


def test_a_curve_shows_epochs_only_and_gaps_where_the_log_says_null():
    records = [
        {"epoch": 1, "chunk": 1, "loss": 50.0},
        {"epoch": 1, "loss": 4.0},
        {"epoch": 2, "loss": None},
        {"epoch": 3, "loss": 1.0},
    ]
    drawing = plots.draw_curve, {"student": records}, {}, "loss"
    line, chosen = drawn(*drawing, {"student": 3}).lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [1.0, np.nan, 0.25])
    assert (chosen.get_xdata()[0], chosen.get_ydata()[0]) == (3, 0.25)
    assert not len(drawn(*drawing, {}).lines[1].get_xdata())


def test_a_curve_has_its_levels_even_before_the_first_epoch():
    lines = drawn(plots.draw_curve, {"teacher": []}, LEVELS, "au", {}).lines
    assert [line.get_ydata()[0] for line in lines] == [0.4, 0.31]
    assert len({str(line._dash_pattern) for line in lines}) == 2


def test_valence_arousal_scatter(va, tmp_path):
    path = tmp_path / "va.png"
    plots.valence_arousal_scatter(*va, path, scores={"valence": 0.712})
    image = pixels(path)
    assert image.shape == (460, 900, 3)
    assert share(image, "#0072B2", 40) > 0.01
    assert path.stat().st_size < 60_000


def test_agreement_counts_labelled_frames_alone(va):
    axes = drawn(plots.draw_agreement, va, 1, {"arousal": 0.5})
    assert axes.get_title("left") == "arousal, CCC 0.50"
    (image,) = axes.images
    counts = image.get_array()
    assert counts.sum() == np.sum(va.where)
    # Labels run along x, 50 steps of 0.04 from -1: their mean over the picture is that
    # of the labels. From -1 upwards means that the first row is drawn lowest.
    middles = np.linspace(-0.98, 0.98, 50)
    labels, predictions = (np.asarray(each)[va.where, 1] for each in va[1::-1])
    assert (counts.sum(0) @ middles / counts.sum()) == pytest.approx(
        labels.mean(), abs=0.005
    )
    assert (counts.sum(1) @ middles / counts.sum()) == pytest.approx(
        predictions.mean(), abs=0.005
    )
    assert image.origin == "lower"


def test_expression_confusion(expr, tmp_path):
    plots.expression_confusion(*expr, tmp_path / "confusion.png")
    image = pixels(tmp_path / "confusion.png")
    assert image.shape == (560, 640, 3)
    assert share(image, "#56A5D0", 30) > 0.02


def test_confusion_rows_are_labels_in_percent():
    # Anger (1): three frames, two right, one taken for Other (7); the rest unlabelled.
    expr = plots.Compared([1, 1, 7, 0], [1, 1, 1, 2], [True, True, True, False])
    axes = drawn(plots._draw_confusion, expr)
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert len(cells) == 8
    assert (cells[1, 1], cells[7, 1], cells[0, 1]) == ("67", "33", "0")
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows[1] == "Anger (3)" and rows[2] == "Disgust (0)"
    assert [label.get_text() for label in axes.get_xticklabels()] == [*EXPRESSIONS]


def test_action_unit_bars(units, tmp_path):
    plots.action_unit_bars(units, UNIT_CHANCE, tmp_path / "au.png")
    image = pixels(tmp_path / "au.png")
    assert image.shape == (600, 720, 3)
    assert share(image, plot_style.COLOURS["teacher"]) > 0.03
    assert share(image, plot_style.COLOURS["student"]) > 0.03


def test_bars_stand_beside_their_unit_and_chance(units):
    axes = drawn(plots._draw_units, units, UNIT_CHANCE)
    teacher, student = axes.containers
    np.testing.assert_allclose([bar.get_width() for bar in student], units["student"])
    middles = [bar.get_y() + bar.get_height() / 2 for bar in teacher]
    np.testing.assert_allclose(middles, np.arange(12) - 0.2)
    chance = [segment[0, 0] for segment in axes.collections[0].get_segments()]
    np.testing.assert_allclose(chance, UNIT_CHANCE)
    names = [label.get_text().split()[0] for label in axes.get_yticklabels()]
    assert names == [*ACTION_UNITS]


def test_summary(records, va, expr, units, tmp_path):
    path = tmp_path / "summary.png"
    plots.summary(
        records,
        LEVELS,
        path,
        va=va,
        expr=expr,
        unit_scores=units,
        unit_chance=UNIT_CHANCE,
        scores={"valence": 0.71, "arousal": 0.62},
    )
    image = pixels(path)
    assert image.shape == (940, 1600, 3)
    # Nothing is empty: every sixth of the picture has ink.
    for rows in np.split(image[:, :1596], 2):
        for part in np.split(rows, 3, axis=1):
            assert (part < 128).any(-1).mean() > 0.005
    assert path.stat().st_size < 250_000


def test_the_same_data_make_the_same_bytes(units, tmp_path):
    for name in ("a.png", "b.png"):
        plots.action_unit_bars(units, UNIT_CHANCE, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_style_stays_inside(units, tmp_path):
    # A style of the caller's own, which no earlier test can have set already.
    with rc_context({"grid.color": "red", "font.size": 23.0}):
        before = dict(rcParams)
        plots.action_unit_bars(units, UNIT_CHANCE, tmp_path / "au.png")
        assert dict(rcParams) == before
