"""First stage: from a release on disk, or a synthetic one, to an open store."""

from pathlib import Path

from ml_collections import ConfigDict

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
        return open_store(data.store)
    if not (data.release or data.synthetic):
        raise ValueError(NO_DATA)
    source = (
        {"release": str(Path(data.release).absolute())}
        if data.release
        else {"drawing": data.drawing.to_dict(), "seed": config.seed}
    )
    artefact = Artefact(
        inputs / "corpus",
        {
            **source,
            "image_size": data.image_size,
            "images": data.images,
            "overlap": data.overlap,
        },
    )
    store = artefact.directory / "store"
    complete = artefact.begin()
    what = f"{data.release} packed" if data.release else "a synthetic release, packed"
    console.stage_header("corpus", "ready" if complete else what)
    if not complete and is_first():
        release = Path(data.release) if data.release else _draw(config, artefact)
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
