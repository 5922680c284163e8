"""The paper's student at full size (equation 13), after the teacher it needs.

python -m abaw_jax.main --config=configs/student.py --config.data.release=DIR
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """The paper's settings, up to the student."""
    config = base.get_config()
    config.until = "student"
    return config
