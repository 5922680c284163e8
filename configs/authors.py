"""The authors' own code instead of their equations, switch by switch.

python -m abaw_jax.main --config=configs/authors.py --config.data.release=DIR
python -m abaw_jax.main --config=configs/authors.py:small     on a synthetic release

Scores stay the official ones; the means over mini-batches that the authors report stand
beside them, labelled so.
"""

from ml_collections import ConfigDict

from configs import quickstart, student


def get_config(size: str = "") -> ConfigDict:
    """The student's settings as the authors' code has them."""
    if size not in ("", "small"):
        raise ValueError(f"authors.py:{size} is not known; choose small.")
    config = quickstart.small() if size else student.get_config()
    config.equations.swapped = True
    config.equations.softened_supervision = True
    config.loss.ramp = "epoch"
    config.loss.gamma_cap = None
    config.kd.teacher_epoch = "last"
    config.heads.lstm_activation = "relu"
    config.sound_encoder.scale = 255.0
    config.train.order = ("mtl", "va", "expr", "au")
    config.train.proportional = True
    config.train.complete_rows = True
    config.data.overlap = "keep"
    config.evaluation.batch_mean = True
    return config
