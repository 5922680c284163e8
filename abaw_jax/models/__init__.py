"""Networks: image encoder, sound encoder, heads, and the three wired together."""

from abaw_jax.models.affect import AffectModel, FrameRegressor, SoundRegressor
from abaw_jax.models.heads import AffectHeads
from abaw_jax.models.image_encoder import ImageEncoder, scale_frames
from abaw_jax.models.soundnet import SoundNet, scale_waveform, sound_feature

__all__ = [
    "AffectHeads",
    "AffectModel",
    "FrameRegressor",
    "ImageEncoder",
    "SoundNet",
    "SoundRegressor",
    "scale_frames",
    "scale_waveform",
    "sound_feature",
]
