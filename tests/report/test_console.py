import io

import pytest
from rich.console import Console

from abaw_jax.report import console

SCORES = {
    "va": 0.19,
    "valence": 0.4124,
    "arousal": -0.032,
    "expr": 0.29,
    "au": 0.44,
    "mtl": 1.13,
}
CHANCE = {
    "va": 0.0,
    "valence": 0.0,
    "arousal": 0.0,
    "expr": 0.125,
    "au": 0.31,
    "mtl": 0.4375,
}
RAN = {"teacher": "synthetic release [seed 0], 1 run", "student": "the same, 1 run"}


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand, in seconds."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def open_terminal(monkeypatch, kind):
    """What a person at a terminal of 100 columns would be sent."""
    monkeypatch.setenv("TERM", kind)  # whatever the tests themselves run in
    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(console, "_console", shown)
    return screen


def test_lines_are_sparse_and_hold_rate_and_time_left(clock, capsys):
    with console.progress("features", 1000) as update:
        # A slow first item, then four a second for 249.75 seconds.
        for done in range(1, 1001):
            clock[0] += 25.0 if done == 1 else 0.25
            update(done)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "features: 1 of 1,000"
    assert lines[1] == "features: 41 of 1,000, 4.0/s, 4:00 left"
    # One line every 10 s, and one when all is done.
    assert len(lines) == 1 + 24 + 1
    assert lines[-1] == "features: 1,000 of 1,000 in 4:35"


def test_the_total_may_be_corrected_on_the_way(clock, capsys):
    with console.progress("preparing", 1) as update:
        update(0, 60)
        clock[0] += 20
        update(20, 60)
        clock[0] += 7200
        update(30)
    assert capsys.readouterr().out.splitlines() == [
        "preparing: 20 of 60, 1.0/s, 40 s left",
        "preparing: 30 of 60, 4:01 each, 2:00:20 left",
        "preparing: 30 of 60 in 2:00:20",
    ]


def test_a_resumed_run_does_not_count_what_it_finds_done(clock, capsys):
    with console.progress("teacher", 1000) as update:
        update(900)
        clock[0] += 10
        update(910)
    assert "910 of 1,000, 1.0/s, 1:30 left" in capsys.readouterr().out


def test_a_bar_moves_on_a_terminal_and_lines_stand_above_it(clock, monkeypatch):
    terminal = open_terminal(monkeypatch, "xterm")
    with console.progress("features", 400) as update:
        update(0)
        clock[0] += 2.0
        update(100)
        console.say("[a line]")
    shown = terminal.getvalue()
    assert "━" in shown
    assert "100/400" in shown
    assert "50/s, 6.0 s left" in shown
    assert "[a line]" in shown
    assert shown.rstrip().endswith("features: 100 of 400 in 2.0 s")


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(clock, monkeypatch):
    terminal = open_terminal(monkeypatch, "dumb")
    with console.progress("features", 400) as update:
        update(0)
        clock[0] += 20.0
        update(100)
    assert terminal.getvalue().startswith("features: 100 of 400, 5.0/s, 1:00 left\n")


def test_an_error_inside_progress_passes_and_claims_no_end(clock, capsys):
    with pytest.raises(RuntimeError, match="disk"), console.progress("x", 2) as update:
        update(1)
        raise RuntimeError("disk")
    assert capsys.readouterr().out == ""


def test_epoch_line_has_every_score_beside_chance(capsys):
    console.epoch_line("teacher", 3, 20, 0.81234, SCORES, CHANCE, 12.3)
    assert capsys.readouterr().out == (
        "teacher   3/20  loss 0.812  valence  .412 (.00)  arousal -.032 (.00)"
        "  EXPR  .290 (.12)  AU  .440 (.31)  MTL 1.130 (.44)  12 s\n"
    )


def test_epoch_line_leaves_out_what_a_stage_does_not_score(capsys):
    scores = {"va": 0.25, "valence": 0.1, "arousal": 0.4}
    console.epoch_line("backbone", 1, 5, 1.0, scores, CHANCE, 0.5)
    out = capsys.readouterr().out
    assert "arousal  .400 (.00)  0.5 s" in out
    assert "EXPR" not in out


def test_stage_header_takes_brackets_literally(capsys):
    console.stage_header("teacher", "sets [va, au]")
    assert capsys.readouterr().out == "\nteacher  sets [va, au]\n"


def test_results_have_the_columns_of_table_1_and_say_what_was_run(capsys):
    results = {"teacher": SCORES, "student": SCORES | {"au": 0.5}}
    probe = SCORES | {"mtl": 0.9}
    levels = {"chance": CHANCE, "linear_probe": probe}
    console.results_table(results, levels, ran=RAN)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["EXPR", "AU", "VA", "V", "A", "MTL"] in lines
    assert "teacher 0.290 0.440 0.190 0.412 -0.032 1.130".split() in lines
    assert "student 0.290 0.500 0.190 0.412 -0.032 1.130".split() in lines
    assert "chance 0.125 0.310 0.000 0.000 0.000 0.438".split() in lines
    assert "linear probe 0.290 0.440 0.190 0.412 -0.032 0.900".split() in lines
    assert "teacher synthetic release [seed 0], 1 run".split() in lines
    assert any("guess" in line for line in lines)


def test_tasks_without_frames_have_no_column(monkeypatch):
    screen = open_terminal(monkeypatch, "xterm")
    va = {"va": 0.2, "valence": 0.4, "arousal": 0.0}
    console.results_table({"teacher": va}, {"chance": dict.fromkeys(va, 0.0)})
    shown = screen.getvalue()
    assert shown.split()[:3] == ["VA", "V", "A"]
    assert "MTL" not in shown and "EXPR" not in shown


def test_lines_stay_whole_and_warnings_stand_out(capsys, monkeypatch):
    terminal = open_terminal(monkeypatch, "xterm")
    console.say("a " * 200 + "[b]")
    console.warn("few rows")
    lines = [line.strip() for line in terminal.getvalue().splitlines()]
    assert lines == ["a " * 200 + "[b]", "Warning: few rows"]


def test_results_without_a_word_on_what_was_run(capsys):
    console.results_table({"teacher": SCORES}, {"chance": CHANCE})
    out = capsys.readouterr().out
    assert "1.130" in out and "synthetic" not in out


EVIL = "a\x1b[2J\r\nb\udcff"
SHOWN = r"a\x1b[2J\r\nb\udcff"


def test_codes_for_the_terminal_in_names_are_shown(capsys, clock):
    console.say(f"{EVIL}: écrit")
    console.warn(EVIL)
    console.stage_header("corpus", f"{EVIL} packed")
    console.results_table({"teacher": SCORES}, {}, ran={"teacher": EVIL})
    with console.progress(EVIL, 10) as update:
        clock[0] += 20
        update(5)
    out = capsys.readouterr().out
    assert out.startswith(f"{SHOWN}: écrit\nWarning: {SHOWN}\n\ncorpus  {SHOWN} packed")
    assert out.count(SHOWN) == 6 and "\x1b" not in out and "\r" not in out


def test_a_bar_takes_its_name_literally(clock, monkeypatch):
    screen = open_terminal(monkeypatch, "xterm")
    with console.progress(f"[/red]{EVIL}", 10) as update:
        update(5)
    assert f"[/red]{SHOWN}" in screen.getvalue()
