"""Table 1 of the paper: both roles, four settings of delta, five seeds, one command.

python -m abaw_jax.main --config=configs/table1.py:small        synthetic, 20 minutes
python -m abaw_jax.main --config=configs/table1.py:seeds        one delta, 16 seeds
python -m abaw_jax.main --config=configs/table1.py:benchmark    synthetic, a night
python -m abaw_jax.main --config=configs/table1.py --config.data.release=DIR
"""

from ml_collections import ConfigDict

from configs import base, quickstart

DELTAS = ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.0, 1.0))
"""No discriminator (a weight of 0 is the same to the bit of a test), .5, 1, 0 to 1."""

_SIZES = ("", "small", "seeds", "benchmark")


def get_config(size: str = "") -> ConfigDict:
    """All runs of the table as one population."""
    if size not in _SIZES:
        raise ValueError(
            f"table1.py:{size} is not known; choose small, seeds, benchmark."
        )
    config = quickstart.get_config() if size else base.get_config()
    config.train.unit_weights = False  # the paper's loss alone is on trial
    deltas, seeds = DELTAS, 5
    if size == "seeds":
        deltas, seeds = DELTAS[:1], 16  # does the student beat the teacher at all?
    if size == "benchmark":
        config.data.drawing.train_subjects = 300
        config.data.drawing.validation_subjects = 120
        config.backbone.image_samples = 0
        config.backbone.sound_samples = 640
        config.features.sound_every = 6
        seeds = 10
    config.population = tuple(
        {"loss.discriminator": delta, "seed": seed}
        for delta in deltas
        for seed in range(seeds)
    )
    return config
