"""First stage: opens the store of a release, or of a synthetic one."""

import hashlib
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from abaw_jax.experiment.artefact import Artefact
from abaw_jax.experiment.sole_run import sole_stage
from abaw_jax.json_files import read_json
from abaw_jax.releases.images import IMAGE_SUFFIXES
from abaw_jax.releases.media import VIDEO_SUFFIXES
from abaw_jax.report import console
from abaw_jax.report.release_report import write_page
from abaw_jax.store.reader import Store, open_store
from abaw_jax.store.writer import prepare
from abaw_jax.synthetic import SyntheticSettings, write_release
from abaw_jax.training.processes import is_first

NO_DATA = (
    "No data is configured. Either watch the whole paper on a synthetic release: "
    "--config=configs/quickstart.py; or name your copy of Aff-Wild2 (the folder that "
    "holds batch1, cropped_aligned and the annotations): --config.data.release=DIR."
)


def build(config: ConfigDict, inputs: Path) -> Store:
    """Opens the configured store, preparing it first where that is needed.

    Raises:
      ValueError: if the configuration names no data.
    """
    data = config.data
    if data.store:
        return open_store(Path(data.store).expanduser(), data.verify)
    if not (data.release or data.synthetic):
        raise ValueError(NO_DATA)
    artefact = Artefact(inputs / "corpus", made_from(config, inputs / "corpus"))
    store = artefact.directory / "store"
    complete = artefact.begin()
    what = f"{data.release} packed" if data.release else "a synthetic release, packed"
    console.stage_header("corpus", "ready" if complete else what)
    if not complete:
        with sole_stage(artefact.directory):
            if is_first():
                _prepare(config, artefact, store)
            artefact.finish()
    return open_store(store, data.verify)


def is_packed(config: ConfigDict, inputs: Path) -> bool:
    """False if `build` would have to pack the release first."""
    data = config.data
    if data.store or not (data.release or data.synthetic):
        return True
    return (inputs / "corpus" / "done.json").exists()


def _prepare(config: ConfigDict, artefact: Artefact, store: Path) -> None:
    data = config.data
    release = (
        Path(data.release).expanduser() if data.release else _draw(config, artefact)
    )
    with console.progress("preparing", 1) as update:
        report = prepare(
            release,
            store,
            image_size=data.image_size,
            images=data.images,
            overlap=data.overlap,
            progress=update,
        )
    for line in report.summary().splitlines():
        console.say(line)
    console.say(f"{write_page(store, report, str(release))}")


def made_from(config: ConfigDict, folder: Path) -> dict[str, Any]:
    """Fingerprint inputs of the store: of a release, or of a synthetic one.

    Args:
      config: as in ``configs/base.py``.
      folder: of the stage; once it is complete the release may be removed.

    Raises:
      ValueError: if the release is no folder.
    """
    data = config.data
    if data.release:
        root = Path(data.release).expanduser().absolute()
        packed = read_json(folder / "config.json") or {}
        removed = not root.exists() and (folder / "done.json").exists()
        content = packed.get("content") if removed else describe_files(root)
        source = {"release": str(root), "content": content}
    else:
        source = {"drawing": data.drawing.to_dict(), "seed": config.seed}
    settings = {key: data[key] for key in ("image_size", "images", "overlap")}
    return source | settings


def describe_files(root: Path) -> dict[str, Any]:
    """Identifies the state of a release without reading its files.

    Names, sizes and times of videos and annotations, and names of images, of which a
    release has millions. Other files, as a system or a program leaves them, do not
    count, nor do runs and stores that lie below.

    Raises:
      ValueError: if ``root`` is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; name the one that holds the release.")
    digest, files, images = hashlib.sha256(), 0, 0
    for folder, folders, names in os.walk(root):
        if _MADE.intersection(names):
            folders.clear()
            continue
        folders.sort()
        shown = sorted(name for name in names if not name.startswith("."))
        here = [name for name in shown if name.lower().endswith(IMAGE_SUFFIXES)]
        read = [name for name in shown if name.lower().endswith(_READ)]
        files, images = files + len(read), images + len(here)
        path = os.path.relpath(folder, root)
        others = [(name, *_size_and_time(os.path.join(folder, name))) for name in read]
        if here or others:
            digest.update(repr((path, here, others)).encode(errors="surrogateescape"))
    return {"files": files, "images": images, "digest": digest.hexdigest()[:16]}


_READ = (*VIDEO_SUFFIXES, ".txt", ".csv")
_MADE = {"manifest.json", "config.json", "result.json"}  # in stores and runs


def _size_and_time(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:  # a link to nothing
        found = os.lstat(path)
    return found.st_size, found.st_mtime_ns


def _draw(config: ConfigDict, artefact: Artefact) -> Path:
    release = artefact.directory / "release"
    with console.progress("drawing a release", 1) as update:
        write_release(
            release,
            SyntheticSettings(**config.data.drawing),
            seed=config.seed,
            progress=update,
        )
    return release
