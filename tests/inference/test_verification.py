"""The command that compares a store or a model folder with its digests."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding

from abaw_jax import verify
from abaw_jax.experiment import feature_files
from abaw_jax.inference.model_folder import write_model
from abaw_jax.inference.verification import verify as verify_folder
from abaw_jax.json_files import write_json
from abaw_jax.store.writer import prepare
from abaw_jax.training.networks import save_networks
from tests.support.tiny_model import make_config, make_contract, make_networks
from tests.support.tiny_release import SIZE, write_release


def write_tiny_model(path):
    config = make_config(("image",))
    write_model(path, make_contract(config), make_networks(config))
    return path / "heads.safetensors"


def write_tiny_store(path):
    prepare(write_release(path.parent / "release"), path, image_size=SIZE)
    return path / "sound" / "alpha.npy"


def write_record_of_a_piece(path):
    return write_tiny_store(path).with_suffix(".json")


@pytest.mark.parametrize(
    "write", [write_tiny_model, write_tiny_store, write_record_of_a_piece]
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, capsys, write):
    file = write(tmp_path / "made")
    verify.main(["verify", str(tmp_path / "made")])
    assert capsys.readouterr().out.endswith(" files are as they were written\n")
    data = bytearray(file.read_bytes())
    data[-9] ^= 1
    file.write_bytes(data)
    with pytest.raises(SystemExit) as ended:
        verify.main(["verify", str(tmp_path / "made")])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{file}: is not as it was written")


@pytest.mark.parametrize("kept", ["options.json", "subjects/alpha", "sound"])
def test_an_unfinished_store_is_told_with_what_finishes_it(tmp_path, capsys, kept):
    """As half of it is packed; the digests of its pieces are as they were written."""
    store, part = tmp_path / "store", tmp_path / "part"
    write_tiny_store(store)
    (part / kept).parent.mkdir(parents=True)
    (store / kept).rename(part / kept)
    with pytest.raises(SystemExit) as ended:
        verify.main(["verify", str(part)])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{part / 'manifest.json'}: is missing, so the store is unf")
    assert "--merge" in line


@pytest.mark.parametrize(
    ("deleted", "said"),
    [
        ("teacher/networks/0", "is missing"),
        ("teacher/networks/0.json", "its digest is missing or damaged"),
        ("features/alpha.npy", "cannot be read (No such file or directory)"),
        ("features/alpha.sha256", "has lost its digest"),
    ],
)
def test_what_was_deleted_of_a_finished_run_is_named(tmp_path, deleted, said):
    shapes = SingleDeviceSharding(jax.devices()[0])
    save_networks(
        tmp_path / "teacher/networks", jax.device_put({"a": np.ones((1, 2))}, shapes)
    )
    (tmp_path / "features").mkdir()
    feature_files.save(tmp_path / "features/alpha.npy", np.ones((3, 2), np.float32))
    for stage in ("teacher", "features"):
        write_json(tmp_path / stage / "done.json", {"fingerprint": "1"})
    assert not any(reason for _, reason in verify_folder(tmp_path))
    gone = tmp_path / deleted
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    found = [(path, reason) for path, reason in verify_folder(tmp_path) if reason]
    named = Path(deleted).with_suffix(".npy" if "features" in deleted else "")
    assert found == [(tmp_path / named, said)]


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="name a store, a run or a model folder"):
        verify.main(["verify", str(tmp_path / "none")])


def test_a_folder_without_digests_is_no_success(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"0")
    with pytest.raises(SystemExit, match="holds no file with a digest: name a store"):
        verify.main(["verify", str(tmp_path)])


def test_one_file_is_told_in_the_singular(tmp_path, capsys):
    write_json(tmp_path / "a.json", {"a": 1})
    verify.main(["verify", str(tmp_path)])
    assert capsys.readouterr().out == "1 file is as it was written\n"
