"""First stage: from a release on disk, or a synthetic one, to an open store."""

import hashlib
import os
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from abaw_jax.data.media import IMAGE_SUFFIXES
from abaw_jax.data.packing import prepare
from abaw_jax.data.store import Store, open_store
from abaw_jax.data.synthetic import SyntheticSettings, write_release
from abaw_jax.report import console
from abaw_jax.stages.artefact import Artefact
from abaw_jax.stages.release_report import write_page
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
        return open_store(Path(data.store).expanduser())
    if not (data.release or data.synthetic):
        raise ValueError(NO_DATA)
    artefact = Artefact(inputs / "corpus", made_from(config))
    store = artefact.directory / "store"
    complete = artefact.begin()
    what = f"{data.release} packed" if data.release else "a synthetic release, packed"
    console.stage_header("corpus", "ready" if complete else what)
    if not complete and is_first():
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
        console.say(report.summary())
        console.say(f"{write_page(store, report, str(release))}")
    if not complete:
        artefact.finish()
    return open_store(store)


def made_from(config: ConfigDict) -> dict[str, Any]:
    """What the store of this configuration is made from: a release, or a drawn one.

    Raises:
      ValueError: if the release is no folder.
    """
    data = config.data
    if data.release:
        root = Path(data.release).expanduser().absolute()
        source = {"release": str(root), "content": describe_files(root)}
    else:
        source = {"drawing": data.drawing.to_dict(), "seed": config.seed}
    settings = {key: data[key] for key in ("image_size", "images", "overlap")}
    return source | settings


def describe_files(root: Path) -> dict[str, Any]:
    """What tells one state of a folder from another without reading its files.

    Names, sizes and times of all files but images, of which a release has millions:
    these are known by their number and the time of their folder, which changes with
    every image that comes or goes.

    Raises:
      ValueError: if ``root`` is no folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; name the one that holds the release.")
    digest, files, images = hashlib.sha256(), 0, 0
    for folder, folders, names in os.walk(root, followlinks=True):
        folders.sort()
        here = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
        named = sorted(set(names) - set(here))
        files, images = files + len(named), images + len(here)
        paths = [Path(folder), *(Path(folder, name) for name in named)]
        for path in paths if here or named else ():
            found = path.stat()
            size = len(here) if path == paths[0] else found.st_size
            digest.update(repr((str(path), size, found.st_mtime_ns)).encode())
    return {"files": files, "images": images, "digest": digest.hexdigest()[:16]}


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
