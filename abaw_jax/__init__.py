"""Affect recognition from video and sound when most labels are missing.

A JAX and Flax implementation of the multitask teacher and student of Jeong, Oh and
Lim, *Multitask Emotion Recognition Model with Knowledge Distillation and Task
Discriminator* (ABAW3, 2022): valence and arousal, eight expressions and twelve facial
action units from the same six frames and ten seconds of sound. Import the module you
need, ``from abaw_jax import losses``; the package itself loads nothing.
"""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from abaw_jax.inference.model import Model

__version__ = "0.1.0"


def load(path: str | PathLike[str]) -> "Model":
    """Loads a model folder; see `abaw_jax.inference.model.load`."""
    from abaw_jax.inference import model

    return model.load(path)
