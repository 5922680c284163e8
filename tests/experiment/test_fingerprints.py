"""Every field of the configuration makes other artefacts, or is known not to."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from abaw_jax.experiment import (
    corpus,
    encoders,
    features,
    results,
    teacher_student,
    training_setup,
)
from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.going_on import FREE, RAISED, UNRECORDED
from abaw_jax.experiment.population import plan_members
from abaw_jax.experiment.run import Run
from configs import base

OTHER_VALUES = {
    "population": ({"seed": 1},),
    "loss.ramp": "epoch",
    "loss.gamma_rule": "log2",
    "windows.unit": "seconds",
    "windows.missing": "zero",
    "windows.sound_pad": "tile",
}
"""Of fields whose values are checked before a stage knows what it is made from."""


def all_made_from(config):
    """What every stage of a run is made from, without running any."""
    store = SimpleNamespace(fingerprint="store", subjects=())
    run = Run(config, Path("work"), Path("inputs"), store, None)
    encoder = SimpleNamespace(fingerprint="encoder")
    trained = SimpleNamespace(fingerprint="teacher", role="teacher")
    members = plan_members(config, copies=config.kd.ensemble)
    return [
        corpus.made_from(config, Path("corpus")),
        *(encoders._made_from(config, name, store) for name in ("image", "sound")),
        features.image_artefact(run, encoder).made_from,
        features.sound_artefact(run, encoder).made_from,
        teacher_student._made_from(run, members, trained, 1),
        training_setup.end_to_end_made_from(run, encoder, encoder),
        results._settings(run, [trained]),
    ]


def changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return value[:-1] if isinstance(value, tuple) else f"other {value}"


def flat(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


FIELDS = dict(flat(base.get_config().to_dict()))


def with_value(name, value):
    config = base.get_config()
    *rooms, field = name.split(".")
    part = config
    for room in rooms:
        part = part[room]
    with part.ignore_type():
        part[field] = value
    return config


@pytest.mark.parametrize("name", [*FIELDS])
def test_every_field_changes_an_artefact_or_is_listed(name, tmp_path):
    value = OTHER_VALUES.get(name, changed(FIELDS[name]))
    if name == "data.release":
        value = str(tmp_path)
    other = all_made_from(with_value(name, value))
    same = other == all_made_from(base.get_config())
    assert same == (name in UNRECORDED)


def test_nothing_is_listed_that_there_is_not():
    listed = UNRECORDED.keys() | RAISED.keys() | FREE.keys() | OTHER_VALUES.keys()
    assert listed <= FIELDS.keys()


def test_a_release_is_known_by_its_content(tmp_path):
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "00001.jpg").write_bytes(b"1")
    (tmp_path / "VA.txt").write_text("0,0")
    seen = [corpus.describe_files(tmp_path)]
    (tmp_path / "crops" / "00002.jpg").write_bytes(b"2")
    seen.append(corpus.describe_files(tmp_path))
    (tmp_path / "EXPR.txt").write_text("1")
    seen.append(corpus.describe_files(tmp_path))
    (tmp_path / "VA.txt").write_text("0,0,0")
    seen.append(corpus.describe_files(tmp_path))
    (tmp_path / "EXPR.txt").unlink()
    seen.append(corpus.describe_files(tmp_path))
    assert len({each["digest"] for each in seen}) == 5
    assert [each["images"] for each in seen] == [1, 2, 2, 2, 2]
    assert corpus.describe_files(tmp_path) == seen[-1]
    with pytest.raises(ValueError, match="missing is no folder; name the one"):
        corpus.describe_files(tmp_path / "missing")


def test_what_a_system_or_a_run_leaves_in_a_release_does_not_count(tmp_path):
    (tmp_path / "VA.txt").write_text("0,0")
    (tmp_path / "video.mp4").symlink_to(tmp_path / "nowhere.mp4")
    before = corpus.describe_files(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "run/result.json", "run/plots/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert corpus.describe_files(tmp_path) == before


def test_a_release_may_be_removed_once_it_is_packed(tmp_path):
    config = base.get_config()
    config.data.release = str(tmp_path / "release")
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "VA.txt").write_text("0,0")
    artefact = Artefact(tmp_path / "c", corpus.made_from(config, tmp_path / "c"))
    artefact.begin()
    artefact.finish()
    shutil.rmtree(tmp_path / "release")
    again = Artefact(tmp_path / "c", corpus.made_from(config, tmp_path / "c"))
    assert again.begin()


def test_the_sound_encoder_knows_its_windows():
    store = SimpleNamespace(fingerprint="store")
    plain = encoders._made_from(base.get_config(), "sound", store)
    for name in ("windows.sound_seconds", "windows.sound_pad", "dtype"):
        value = OTHER_VALUES.get(name, changed(FIELDS[name]))
        other = encoders._made_from(with_value(name, value), "sound", store)
        assert other != plain
