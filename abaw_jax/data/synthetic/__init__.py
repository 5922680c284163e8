"""A synthetic release: a corpus in the official layout, drawn from a seed.

People who do not exist feel, speak and pull faces; annotators who do not exist rate
some of it, as incompletely as those of the ABAW challenges. ``write_release`` writes
what a reader of Aff-Wild2 expects, ``truth`` tells what it must find there.
"""

from abaw_jax.data.synthetic.cast import Person, SyntheticSettings, Video
from abaw_jax.data.synthetic.release import write_release
from abaw_jax.data.synthetic.truth import Labels, Truth, truth

__all__ = [
    "Labels",
    "Person",
    "SyntheticSettings",
    "Truth",
    "Video",
    "truth",
    "write_release",
]
