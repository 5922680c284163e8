"""A model folder: written, read, refused where it is not as it was written."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import abaw_jax
from abaw_jax.experiment import model_factory
from abaw_jax.experiment.run_record import write_record
from abaw_jax.faces.video_frames import read_frames
from abaw_jax.inference import run_export
from abaw_jax.inference.model_card import model_card, untrained
from abaw_jax.inference.model_folder import CONTRACT, read_model, write_model
from abaw_jax.inference.prediction_table import columns_of
from abaw_jax.json_files import read_json, write_json
from abaw_jax.models import scale_frames, scale_waveform, sound_feature
from abaw_jax.releases.media import read_recording
from abaw_jax.tasks import EXPRESSIONS
from abaw_jax.training.state import init_variables, stack_members
from tests.support.photo_clips import photograph, tone, write_clip
from tests.support.tiny_model import (
    MEMBERS,
    SAMPLES,
    SIDE,
    make_config,
    make_contract,
    make_networks,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    config = make_config()
    write_model(path, make_contract(config), make_networks(config))
    return path


def inputs(rows=3):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (rows, 6, SIDE, SIDE, 3), np.uint8)
    return frames, rng.integers(-9000, 9000, (rows, SAMPLES), np.int16)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    config = make_config()
    contract, networks = make_contract(config), make_networks(config)
    contract["config"]["heads"]["lstm_size"] += 1
    write_model(tmp_path / "other", contract, networks)
    with pytest.raises(ValueError, match=r"heads\.safetensors holds other weights"):
        abaw_jax.load(tmp_path / "other")(*inputs())
    del networks["image_encoder"]["params"]["stem_norm"]
    write_model(tmp_path / "less", contract, networks)
    reason = r"image_encoder\.safetensors holds other weights .*stem_norm"
    with pytest.raises(ValueError, match=reason):
        abaw_jax.load(tmp_path / "less")
    networks = make_networks(config)
    kernel = networks["image_encoder"]["params"]["stem_conv"]["kernel"]
    networks["image_encoder"]["params"]["stem_conv"]["kernel"] = kernel[..., :-1]
    write_model(tmp_path / "narrow", contract, networks)
    with pytest.raises(ValueError, match=r"image_encoder\.safetensors holds other w"):
        abaw_jax.load(tmp_path / "narrow")
    del contract["config"]["heads"]
    write_model(tmp_path / "none", contract, make_networks(config))
    with pytest.raises(ValueError, match=r"describes no network .*heads"):
        abaw_jax.load(tmp_path / "none")


def test_a_model_without_an_encoder_says_so(folder):
    model = abaw_jax.load(folder)
    networks = {k: v for k, v in model.networks.items() if k != "sound_encoder"}
    without = type(model)(model.contract, networks)
    with pytest.raises(ValueError, match="this model has no sound encoder"):
        without.encode_sound(inputs()[1])


def test_predictions_are_those_of_the_networks_one_by_one(folder):
    config, (frames, waveform) = make_config(), inputs()
    networks = make_networks(config)
    image = model_factory.image_encoder(config).apply(
        networks["image_encoder"],
        scale_frames(jnp.asarray(frames.reshape(-1, 16, 16, 3))),
    )
    objects, _ = model_factory.sound_encoder(config).apply(
        networks["sound_encoder"], scale_waveform(jnp.asarray(waveform))
    )
    heads = model_factory.heads(config)
    outputs = [
        heads.apply(
            jax.tree.map(lambda leaf, k=k: leaf[k], networks["heads"]),
            image.reshape(3, 6, -1),
            sound_feature(objects),
        )
        for k in range(MEMBERS)
    ]
    model = abaw_jax.load(folder)
    found = model(frames, waveform)
    for values, task, squash in (
        (found.valence_arousal, "va", lambda x: x),
        (found.expressions, "expr", jax.nn.softmax),
        (found.action_units, "au", jax.nn.sigmoid),
    ):
        expected = np.mean([squash(each[task]) for each in outputs], axis=0)
        np.testing.assert_allclose(values, expected, atol=2e-6)
    np.testing.assert_allclose(found.expressions.sum(-1), 1, rtol=1e-5)
    inside = jax.jit(lambda *given: model(*given).action_units)(frames, waveform)
    np.testing.assert_allclose(inside, found.action_units, atol=2e-6)


def test_a_network_trained_end_to_end_is_split_into_encoders_and_heads(tmp_path):
    config, given = make_config(), inputs()
    module = model_factory.affect_model(config)
    shapes = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in given]
    variables = init_variables(module, jax.random.key(3), *shapes)
    networks = run_export._split(stack_members([variables]))
    write_model(tmp_path / "model", make_contract(config), networks)
    expected = module.apply(variables, *map(jnp.asarray, given))
    found = abaw_jax.load(tmp_path / "model")(*given)
    np.testing.assert_allclose(found.valence_arousal, expected["va"], atol=2e-6)
    units = jax.nn.sigmoid(expected["au"])
    np.testing.assert_allclose(found.action_units, units, atol=2e-6)


def test_one_stream_reads_nothing_else(tmp_path):
    config = make_config(("image",))
    networks = make_networks(config)
    write_model(tmp_path / "model", make_contract(config), networks)
    model = abaw_jax.load(tmp_path / "model")
    assert model(inputs()[0], None).valence_arousal.shape == (3, 2)
    assert not (tmp_path / "model" / "sound_encoder.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f, w: (f[:, :5], w),
            r"frames must be uint8 \[B, 6, 16, 16, 3\], got .*5",
        ),
        (lambda f, w: (f / 255, w), "got float64"),
        (lambda f, w: (None, w), "got None"),
        (lambda f, w: (f, w[:, 1:]), r"waveform must be int16 \[B, 220500\]"),
        (lambda f, w: (f[:0], w[:0]), r"frames is empty: give uint8 \[B, 6, 16, "),
    ],
)
def test_other_shapes_are_refused(folder, change, message):
    with pytest.raises(ValueError, match=message):
        abaw_jax.load(folder)(*change(*inputs()))


def test_what_is_no_array_is_refused(folder):
    frames, waveform = inputs()
    with pytest.raises(TypeError, match=r"frames is of type list and no array: give u"):
        abaw_jax.load(folder)(frames.tolist(), waveform)


def test_frames_may_have_another_size(folder):
    frames, waveform = inputs()
    larger = np.repeat(np.repeat(frames, 2, axis=2), 2, axis=3)
    found = abaw_jax.load(folder)(larger, waveform)
    assert np.isfinite(found.expressions).all()


def test_the_card_says_what_it_reads_and_how_well(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: abaw_jax\n")
    assert "| V | 0.500 | 0.25 to 0.75 |\n| MTL | 1.250 | - |" in card
    assert "uint8 `[B, 6, 16, 16, 3]`" in card and "10 frames apart" in card


def test_the_card_names_outputs_that_no_label_trained():
    contract = make_contract(make_config())
    named = "labelled with expressions or action units: what it says of them means no"
    assert untrained(contract) is None
    assert "means nothing" not in model_card(contract)
    assert named in model_card({**contract, "untrained": ["expr", "au"]})


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def declare_later_format(path):
    write_json(path, read_json(path) | {"format": 99})


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("heads.safetensors", flip, "heads.safetensors is not as it was written"),
        ("image_encoder.safetensors", lambda p: p.unlink(), "encoder.* is missing"),
        (
            CONTRACT,
            lambda p: p.unlink(),
            "is no model folder, for it has no model.json",
        ),
        (CONTRACT, lambda p: p.write_text("{}"), "model.json is damaged"),
        (CONTRACT, lambda p: p.write_text("[1"), "model.json is damaged"),
        (CONTRACT, lambda p: p.write_text("[" * 10**5), "model.json is damaged"),
        (
            CONTRACT,
            lambda p: p.write_text('{"format": 1, "files": {"../x": "0"}}'),
            "model.json is damaged",
        ),
        (CONTRACT, declare_later_format, "has the format 99, this version reads 1"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(tmp_path, name, spoil, message):
    config = make_config(("image",))
    write_model(tmp_path / "model", make_contract(config), make_networks(config))
    spoil(tmp_path / "model" / name)
    with pytest.raises(ValueError, match=message):
        read_model(tmp_path / "model")


def test_a_model_is_replaced_and_nothing_else(tmp_path):
    config = make_config(("image",))
    contract, networks = make_contract(config), make_networks(config)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "text").touch()
    with pytest.raises(ValueError, match="no model folder and not empty"):
        write_model(tmp_path / "notes", contract, networks)
    for role in ("teacher", "student"):
        write_model(tmp_path / "model", contract | {"role": role}, networks)
    assert read_model(tmp_path / "model")[0]["role"] == "student"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model", "notes"]


@pytest.mark.parametrize("damaged", [False, True])
def test_files_of_others_in_a_model_folder_are_kept(tmp_path, damaged):
    config, path = make_config(("image",)), tmp_path / "model"
    contract, networks = make_contract(config), make_networks(config)
    write_model(path, contract, networks, {"heads.onnx": b"of the export"})
    (path / "README.md").write_text("an edited card")
    if damaged:
        (path / CONTRACT).write_text("{")
    (path / "notes.txt").write_text("mine")
    # Before the run is looked at, which is none.
    with pytest.raises(ValueError, match=r"notes\.txt is no file of the model"):
        run_export.export(tmp_path / "no run", "student", path)
    assert (path / "notes.txt").read_text() == "mine"
    (path / "notes.txt").unlink()
    write_model(path, contract, networks)
    assert "an edited card" not in (path / "README.md").read_text()
    assert not (path / "heads.onnx").exists()


def test_a_link_or_the_working_folder_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "here" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    export = partial(run_export.export, tmp_path / "no run", "student")
    with pytest.raises(ValueError, match="link is a symbolic link to here: name"):
        export(tmp_path / "link")
    for path in (Path(), Path(".."), Path("below/.."), Path.cwd(), Path("/")):
        with pytest.raises(ValueError, match="is the folder one works in, or one"):
            export(path)
    assert sorted(each.name for each in tmp_path.rglob("*")) == [
        "below",
        "here",
        "link",
    ]


def test_loading_imports_no_data_or_training_library(folder):
    program = (
        "import sys, abaw_jax; print('jax' in sys.modules); "
        f"abaw_jax.load({str(folder)!r}); "
        "heavy = {'grain', 'orbax', 'matplotlib', 'librosa', 'av', 'cv2', 'pyarrow'}; "
        "print(*heavy & {*sys.modules})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "False\n\n"


def test_the_spread_is_that_of_the_networks_one_by_one(folder, tmp_path):
    config, given = make_config(), inputs()
    networks, contract = make_networks(config), make_contract(config)
    alone = []
    for k in range(MEMBERS):
        heads = jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], networks["heads"])
        write_model(tmp_path / f"{k}", contract, networks | {"heads": heads})
        model = abaw_jax.load(tmp_path / f"{k}")
        assert model.num_networks == 1
        alone.append(model(*given))
    model = abaw_jax.load(folder)
    found = model(*given)
    assert model.num_networks == MEMBERS
    assert [each.spread for each in alone] == [None] * MEMBERS
    for name in ("valence_arousal", "expressions", "action_units"):
        values = [getattr(each, name) for each in alone]
        np.testing.assert_allclose(
            getattr(found.spread, name), np.std(values, axis=0), atol=2e-6
        )
        np.testing.assert_allclose(
            getattr(found, name), np.mean(values, axis=0), atol=2e-6
        )


def test_a_video_is_predicted_as_its_frames_and_sound_are(folder, tmp_path):
    """The last frame of a clip, whose window and sound are cut by hand."""
    picture = photograph(0.25)
    pictures = [np.roll(picture, 3 * k, axis=1) for k in range(60)]
    clip = write_clip(tmp_path / "a.mp4", pictures, sound=tone(6.0))
    model = abaw_jax.load(folder)
    table = model.predict(clip, faces="whole", every=59)
    assert table.columns == columns_of(MEMBERS)
    assert table["frame"].tolist() == [1, 60]
    shown = [
        Image.fromarray(frame.pixels).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        for frame in read_frames(clip)
        if frame.number % 10 == 0
    ]
    end = round(5.9 * 22_050)
    sound = np.pad(read_recording(clip).sound[:end], (SAMPLES - end, 0))
    found = model(np.stack(shown)[None], sound[None])
    best = int(np.argmax(found.expressions[0]))
    assert table["expression"][1] == EXPRESSIONS[best]
    expected = {
        "valence": found.valence_arousal[0, 0],
        EXPRESSIONS[best]: found.expressions[0, best],
        "AU26": found.action_units[0, 11],
        "arousal_sd": found.spread.valence_arousal[0, 1],
        "expression_sd": found.spread.expressions[0, best],
        "AU01_sd": found.spread.action_units[0, 0],
    }
    for name, value in expected.items():
        assert table[name][1] == pytest.approx(float(value), abs=1e-5), name
    table.to_csv(tmp_path / "a.csv")
    header = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert header == ",".join(table.columns)


@pytest.mark.parametrize(
    ("video", "error", "message"),
    [
        (None, TypeError, "video is of type NoneType and no path: give that of a vi"),
        (np.zeros((2, 2)), TypeError, "video is of type ndarray and no path"),
        (
            "camera:0",
            ValueError,
            r"camera:0 is no file: a .*--video=camera:0",
        ),
        (
            "a folder",
            ValueError,
            r"a folder is a folder: .*--video='a folder'\.",
        ),
    ],
)
def test_what_is_no_video_is_refused(
    folder, tmp_path, monkeypatch, video, error, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    with pytest.raises(error, match=message):
        abaw_jax.load(folder).predict(video)


def test_faces_are_text_or_a_path(folder, tmp_path):
    clip = write_clip(tmp_path / "a.mp4", [photograph(0.25)] * 2)
    boxes = tmp_path / "a.csv"
    boxes.write_text("frame,x,y,width,height\n2,0,0,16,16\n")
    model = abaw_jax.load(folder)
    np.testing.assert_array_equal(model.predict(clip, faces=boxes)["x"], [np.nan, 0])
    with pytest.raises(TypeError, match="faces is of type NoneType and no path"):
        model.predict(clip, faces=None)
    with pytest.raises(ValueError, match="faces is an empty path: give detect, whole"):
        model.predict(clip, faces="")


@pytest.mark.parametrize("every", [True, 0, 1.5])
def test_every_is_a_count(folder, tmp_path, every):
    with pytest.raises(ValueError, match=f"every is {every}: predict every n-th frame"):
        abaw_jax.load(folder).predict(tmp_path / "a.mp4", every=every)


def test_a_path_that_is_no_model_folder_is_described(folder, tmp_path):
    with pytest.raises(ValueError, match=r"is a file of a model folder: name the fol"):
        abaw_jax.load(folder / CONTRACT)
    with pytest.raises(
        ValueError, match="gone does not exist: name an existing folder"
    ):
        abaw_jax.load(tmp_path / "gone")
    with pytest.raises(TypeError, match="path is of type NoneType and no path"):
        abaw_jax.load(None)
    write_record(make_config(), tmp_path / "my run", tmp_path)
    record = read_json(tmp_path / "my run" / "run.json")
    assert record["environment"]["devices"].endswith(jax.devices()[0].device_kind)
    assert record["environment"]["jax"] == jax.__version__
    command = r"python -m abaw_jax\.export --workdir='.*my run' --model=MODEL, and name"
    with pytest.raises(ValueError, match=f"is the folder of a run: .*{command}"):
        abaw_jax.load(tmp_path / "my run")


def test_a_video_that_cannot_be_predicted_is_named(folder, tmp_path):
    model = abaw_jax.load(folder)
    with pytest.raises(ValueError, match=r"there is no video .*none\.mp4"):
        model.predict(tmp_path / "none.mp4")
    whole = write_clip(tmp_path / "a.mkv", [photograph(0.25)] * 30)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match="is neither detect nor whole"):
        model.predict(cut, faces="boxes.csv")
