"""Table 1 of the paper: both roles, four settings of delta, five seeds, one command.

python -m abaw_jax.main --config=configs/table1.py:small        synthetic, 9 minutes
python -m abaw_jax.main --config=configs/table1.py:seeds        one delta, 16 seeds
python -m abaw_jax.main --config=configs/table1.py:causes       who taught, 8 seeds
python -m abaw_jax.main --config=configs/table1.py:again        two of them, 8 others
python -m abaw_jax.main --config=configs/table1.py:benchmark    synthetic, a night
python -m abaw_jax.main --config=configs/table1.py --config.data.release=DIR
"""

from ml_collections import ConfigDict

from configs import base, quickstart

DELTAS = ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0))
"""No discriminator (a weight of 0 is the same to the bit of a test), .5, 1, 0 to 1."""

TEACHING = (
    {},  # equation 13: labels ten times as much as teacher
    {"loss.distilled": 0.0, "loss.cross_task": 0.0},  # the labels alone
    {"loss.supervised": 1.0},  # both the same
    {"loss.supervised": 0.0, "loss.joint": 0.0},  # the teacher alone
)
"""What a student learns from, without discriminator."""

_SIZES = ("", "small", "seeds", "causes", "again", "benchmark")


def get_config(size: str = "") -> ConfigDict:
    """All runs of the table as one population."""
    if size not in _SIZES:
        raise ValueError(
            f"table1.py:{size} is not known; choose {', '.join(_SIZES[1:])}."
        )
    config = quickstart.small() if size else base.get_config()
    settings, seeds = [{"loss.discriminator": delta} for delta in DELTAS], range(5)
    if size == "seeds":  # does the student beat the teacher at all?
        settings, seeds = settings[:1], range(16)
    if size in ("causes", "again"):
        config.loss.discriminator = DELTAS[0]
        settings, seeds = TEACHING, range(8)
    if size == "again":  # what was picked as the best of several needs a new trial
        settings, seeds = TEACHING[2:], range(8, 16)
    if size == "benchmark":
        config.data.drawing.train_subjects = 300
        config.data.drawing.validation_subjects = 120
        config.backbone.image_samples = 0
        config.backbone.sound_samples = 640
        config.features.sound_every = 6
        seeds = range(10)
    config.population = tuple(
        {**changes, "seed": seed} for changes in settings for seed in seeds
    )
    return config
