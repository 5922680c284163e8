"""The paper's teacher at full size (equation 12).

python -m abaw_jax.main --config=configs/teacher.py --config.data.release=DIR
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """The paper's settings, up to the teacher."""
    config = base.get_config()
    config.until = "teacher"
    return config
