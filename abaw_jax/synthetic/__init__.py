"""A synthetic release in the layout of Aff-Wild2, generated from a seed.

Simulated people speak and show expressions in videos with sound. Simulated annotators
label some of the frames, as incompletely as those of the ABAW challenges.
``write_release`` writes the files; ``truth`` gives the labels that a reader must find.
"""

from abaw_jax.synthetic.plan import Person, SyntheticSettings, Video
from abaw_jax.synthetic.truth import Labels, Truth, truth
from abaw_jax.synthetic.write_release import write_release

__all__ = [
    "Labels",
    "Person",
    "SyntheticSettings",
    "Truth",
    "Video",
    "truth",
    "write_release",
]
