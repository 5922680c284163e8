"""The small run that the soak disturbs: every stage, with networks of a few values."""

from pathlib import Path

from abaw_jax.synthetic import SyntheticSettings, write_release

STAGES = (
    "corpus",
    "backbone/image",
    "backbone/sound",
    "features/image",
    "features/sound",
    "teacher",
    "student",
    "linear_probe",
)
"""Folders of the stages in the order in which they are made."""

RESULTS = "results"  # the last stage, which has no folder

TRAINED = ("backbone/image", "backbone/sound", "teacher", "student")
"""Those that train a network."""

EPOCHS, BACKBONE_EPOCHS = 3, 2  # of teacher and student, of encoders

_FIELDS = {
    "data.image_size": 16,
    "windows.images": 2,
    "windows.stride": 2.0,
    "image_encoder.size": 16,
    "image_encoder.stage_sizes": (1,),
    "image_encoder.widths": (8,),
    "image_encoder.cardinality": 4,
    "sound_encoder.widths": (2,) * 7,
    "sound_encoder.objects": 5,
    "backbone.epochs": BACKBONE_EPOCHS,
    "backbone.image_samples": 32,
    "backbone.sound_samples": 32,
    "backbone.batch_size": 16,
    "heads.lstm_size": 8,
    "heads.extractor_sizes": (8,),
    "heads.head_sizes": (8,),
    "heads.discriminator_sizes": (8,),
    "train.epochs": EPOCHS,
    "train.batch_size": 64,
    "train.rounds_per_chunk": 1,  # two of them are an epoch
    "train.checkpoint_seconds": 0.0,
}


# Of the tests, which have a minute.
_SHORT = {"until": "teacher", "streams": ("image",)}


def arguments(folder: Path, *, short: bool = False) -> list[str]:
    """Of the command, for the release and the run in a folder of `make_release`.

    Args:
      folder: holds both.
      short: without sound and without a student.
    """
    fields = _FIELDS | (_SHORT if short else {})
    return [
        "--config=configs/quickstart.py",
        f"--workdir={folder / 'run'}",
        f"--config.data.release={folder / 'release'}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def make_release(folder: Path) -> None:
    """Draws the release on which the run trains."""
    settings = SyntheticSettings(
        train_subjects=6, validation_subjects=3, seconds=6.0, fps=5
    )
    write_release(folder / "release", settings, seed=0, workers=1)


def arguments_of_prepare(folder: Path) -> list[str]:
    """Of the command that packs the release again, after a file of it was deleted."""
    store = folder / "run" / "corpus" / "store"
    size = _FIELDS["data.image_size"]
    return [
        f"--release={folder / 'release'}",
        f"--store={store}",
        f"--image_size={size}",
    ]


def epochs_of(stage: str) -> int:
    """Epochs of a stage that trains."""
    return BACKBONE_EPOCHS if stage.startswith("backbone") else EPOCHS
