"""Affect recognition from video and sound when most labels are missing.

A JAX and Flax implementation of the multitask teacher and student of Jeong, Oh and
Lim, *Multitask Emotion Recognition Model with Knowledge Distillation and Task
Discriminator* (ABAW3, 2022): valence and arousal, eight expressions and twelve facial
action units from the same six frames and ten seconds of sound. Import the module you
need, ``from abaw_jax import losses``; the package itself loads nothing.
"""

__version__ = "0.1.0"
