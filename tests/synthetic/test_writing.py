import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from abaw_jax.synthetic import SyntheticSettings, truth, write_release

TINY = SyntheticSettings(
    train_subjects=3, validation_subjects=2, seconds=2.0, fps=5, crop_size=16
)
SEED = 5


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "release"
    write_release(root, TINY, seed=SEED, workers=1)
    return root


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_bytes_depend_on_settings_and_seed_alone(tmp_path: Path) -> None:
    for name, seed, workers in (("one", 5, 1), ("three", 5, 3), ("other", 6, 1)):
        calls: list[tuple[int, int]] = []
        write_release(
            tmp_path / name,
            TINY,
            seed=seed,
            workers=workers,
            progress=lambda *call, calls=calls: calls.append(call),
        )
        assert calls == [(n, calls[-1][1]) for n in range(len(calls))]
        assert calls[-1][0] == calls[-1][1] == len(truth(TINY, seed=seed).videos)
    one, three, other = (digests(tmp_path / n) for n in ("one", "three", "other"))
    assert one == three
    same = [path for path in one.keys() & other.keys() if one[path] == other[path]]
    assert all(not path.endswith((".jpg", ".mp4", ".avi")) for path in same)


def test_an_interrupted_release_goes_on_where_it_stopped(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_release(tmp_path / "cut", TINY, seed=5, workers=1, progress=stop)
    videos = truth(TINY, seed=5).videos
    # What a kill between the two moves of a video leaves: crops, but no film.
    third = videos[2].people[0].name
    (tmp_path / "cut" / "cropped_aligned" / third).mkdir()
    (tmp_path / "cut" / "cropped_aligned" / third / "99999.jpg").write_bytes(b"old")
    (tmp_path / "cut" / ".partial" / videos[2].name).mkdir(parents=True)
    finished = tmp_path / "cut" / videos[0].batch / (videos[0].name + ".mp4")
    before = finished.stat()
    first: list[tuple[int, int]] = []
    write_release(
        tmp_path / "cut",
        TINY,
        seed=5,
        workers=1,
        progress=lambda *call: first.append(call),
    )
    assert first[0] == (2, len(videos))
    after = finished.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_release(tmp_path / "whole", TINY, seed=5, workers=1)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_a_killed_process_leaves_a_release_that_goes_on(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from abaw_jax.synthetic import SyntheticSettings, write_release\n"
        f"settings = SyntheticSettings(**{dataclasses.asdict(TINY)!r})\n"
        "def stop(done, total):\n"
        "    if done == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_release(sys.argv[1], settings, seed=5, workers=2, progress=stop)\n"
    )
    cut = tmp_path / "cut"
    killed = subprocess.run([sys.executable, "-c", program, str(cut)], cwd=_root())
    assert killed.returncode == -9
    write_release(cut, TINY, seed=5, workers=1)
    write_release(tmp_path / "whole", TINY, seed=5, workers=1)
    assert digests(cut) == digests(tmp_path / "whole")


def test_a_finished_release_is_left_alone(release: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in release.rglob("*.txt")}
    calls: list[tuple[int, int]] = []
    write_release(release, TINY, seed=SEED, progress=lambda *c: calls.append(c))
    total = len(truth(TINY, seed=SEED).videos)
    assert calls == [(total, total)]
    assert before == {p: p.stat().st_mtime_ns for p in release.rglob("*.txt")}


def test_other_settings_and_foreign_folders_are_refused(
    release: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="seed 5 instead of 4"):
        write_release(release, TINY, seed=4)
    noisier = dataclasses.replace(TINY, label_noise=0.2)
    with pytest.raises(ValueError, match=r"label_noise 0\.1 instead of 0\.2.*delete"):
        write_release(release, noisier, seed=SEED)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(ValueError, match="not empty and no synthetic release"):
        write_release(tmp_path / "mine", TINY, seed=0)
    assert os.listdir(tmp_path / "mine") == ["thesis.tex"]
    with pytest.raises(ValueError, match="is a file"):
        write_release(tmp_path / "mine" / "thesis.tex", TINY, seed=0)
    with pytest.raises(ValueError, match="workers is 0"):
        write_release(tmp_path / "new", TINY, seed=0, workers=0)
    for content in ("{", "[]"):
        (tmp_path / "mine" / "synthetic.json").write_text(content)
        with pytest.raises(ValueError, match=r"synthetic\.json"):
            write_release(tmp_path / "mine", TINY, seed=0)


def test_a_failing_worker_is_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_release(tmp_path, TINY, seed=5, workers=1)
    for folder in ("batch1", "batch2"):
        shutil.rmtree(tmp_path / folder)
    (tmp_path / "batch2").write_text("in the way")
    with pytest.raises(RuntimeError, match=r"worker drawing .* call again"):
        write_release(tmp_path, TINY, seed=5, workers=2)
    assert "batch2" in capfd.readouterr().err
    assert any((tmp_path / "batch1").iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_subjects", 0),
        ("validation_subjects", 0),
        ("seconds", 1.0),
        ("fps", 0),
        ("crop_size", 8),
        ("video_size", (97, 72)),
        ("label_noise", 0.7),
        ("missing_faces", -0.1),
    ],
)
def test_impossible_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(
        ValueError, match=str(value).replace("(", r"\(").replace(")", r"\)")
    ):
        SyntheticSettings(**{field: value})


def test_workers_load_no_jax() -> None:
    program = "import sys, abaw_jax.synthetic.worker; print('jax' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=_root()
    )
    assert done.stdout == "False\n", done.stderr


def test_the_card_tells_what_was_drawn(release: Path) -> None:
    card = json.loads((release / "synthetic.json").read_text())
    assert card["synthetic"] is True
    assert (card["seed"], card["settings"]["crop_size"]) == (SEED, 16)


def _root() -> Path:
    return Path(__file__).parents[2]
