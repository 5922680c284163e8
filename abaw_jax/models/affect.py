"""The whole network: encoders and heads, from stored frames and sound to predictions.

`AffectModel` is the end-to-end form of what the features regime does in two
steps; the regressors pre-train one encoder each.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import ArrayLike

from abaw_jax.kernels.cross_device import varying_axis_name
from abaw_jax.models.heads import OUTPUTS, AffectHeads
from abaw_jax.models.image_encoder import ImageEncoder, scale_frames
from abaw_jax.models.soundnet import SoundNet, scale_waveform, sound_feature


class AffectModel(nn.Module):
    """Both encoders under the heads. Variables: the three attributes of that name.

    Attributes:
      image_encoder: frames to features.
      sound_encoder: waveform to object logits; its scene head goes unused.
      heads: its ``streams`` decide which encoders are built.
      image_size: frames are resized to this; 224 for the published weights.
      softmax: the sound feature is the softmax of the object logits (likely).
      sound_scale: full scale of the waveform; 256 for the public weights.
      train_encoders: False keeps the encoders frozen: no gradient, running statistics.
      batch_statistics: trained encoders normalise by the batch and average what they
        see; False leaves their running statistics as they are, and normalises by them.
      microbatches: slices of a batch that encoders train on one after the other; the
        backward pass computes each once more. Heads and losses see the whole batch, so
        that concordance and their normalisation are exact.
    """

    image_encoder: ImageEncoder
    sound_encoder: SoundNet
    heads: AffectHeads
    image_size: int = 224
    softmax: bool = True
    sound_scale: float = 256.0
    train_encoders: bool = False
    batch_statistics: bool = True
    microbatches: int = 1

    def __call__(
        self,
        frames: Array | None,
        waveform: Array | None,
        *,
        train: bool = False,
        reversal_scale: ArrayLike = 1.0,
    ) -> dict[str, Array]:
        """Predicts from stored data; scaling and resizing happen on the device.

        Args:
          frames: ``[B, T, H, W, 3]`` uint8; None where ``heads`` does not read images.
          waveform: ``[B, S]`` int16; None where ``heads`` does not read sound.
          train: as in `AffectHeads`; reaches the encoders if they are trained.
          reversal_scale: as in `AffectHeads`.

        Returns:
          The outputs of `AffectHeads`.

        Raises:
          ValueError: if a stream that ``heads`` reads is missing or malformed, or if
            statistics of the batch are asked for in microbatches.
        """
        encode = train and self.train_encoders and self.batch_statistics
        if encode and self.microbatches > 1:
            raise ValueError(
                f"AffectModel: statistics of the batch need all of it at once, not "
                f"{self.microbatches} microbatches; set batch_statistics=False, or "
                "microbatches=1 and remat of the image encoder."
            )
        slices = self.microbatches if train else 1
        image = sound = None
        if "image" in self.heads.streams:
            image = self._freeze(self._encode_frames(frames, encode, slices))
        if "sound" in self.heads.streams:
            sound = self._freeze(self._encode_waveform(waveform, encode, slices))
        return self.heads(image, sound, train=train, reversal_scale=reversal_scale)

    def _encode_frames(self, frames: Array | None, train: bool, slices: int) -> Array:
        if frames is None or frames.ndim != 5:
            raise ValueError(
                "AffectModel: frames must be uint8 [B, T, H, W, 3], got "
                f"{None if frames is None else frames.shape}."
            )

        def encode(encoder: nn.Module, frames: Array) -> Array:
            return encoder(scale_frames(frames, size=self.image_size), train=train)

        flat = frames.reshape(-1, *frames.shape[2:])
        features = _scan_microbatches(encode, self.image_encoder, flat, slices)
        return features.reshape(*frames.shape[:2], -1)

    def _encode_waveform(
        self, waveform: Array | None, train: bool, slices: int
    ) -> Array:
        if waveform is None:
            raise ValueError("AffectModel: the stream 'sound' needs a waveform [B, S].")

        def encode(encoder: nn.Module, waveform: Array) -> Array:
            scaled = scale_waveform(waveform, scale=self.sound_scale)
            objects, _ = encoder(scaled, train=train)
            return sound_feature(objects, softmax=self.softmax)

        return _scan_microbatches(encode, self.sound_encoder, waveform, slices)

    def _freeze(self, features: Array) -> Array:
        return features if self.train_encoders else lax.stop_gradient(features)


def _scan_microbatches(
    encode: Callable[[nn.Module, Array], Array],
    encoder: nn.Module,
    rows: Array,
    slices: int,
) -> Array:
    """Encodes ``rows [N, ...]`` in so many slices, keeping nothing but the result."""
    if slices == 1:
        return encode(encoder, rows)
    each = -(-len(rows) // slices)
    behind = each * slices - len(rows)
    whole = jnp.pad(rows, ((0, behind), *[(0, 0)] * (rows.ndim - 1)))

    def one(encoder: nn.Module, _: None, rows: Array) -> tuple[None, Array]:
        return None, nn.remat(encode)(encoder, rows)

    loop = nn.scan(one, variable_broadcast=("params", "batch_stats"))
    _, features = loop(encoder, None, whole.reshape(slices, each, *rows.shape[1:]))
    return features.reshape(-1, features.shape[-1])[: len(rows)]


class FrameRegressor(nn.Module):
    """One task on single frames, which pre-trains the image encoder.

    Attributes:
      encoder: its variables lift out under that name.
      image_size: frames are resized to this; None keeps their size.
      task: ``"va"`` as in the paper, or where a release lacks it ``"expr"``, ``"au"``.
    """

    encoder: ImageEncoder
    image_size: int | None = None
    task: str = "va"

    @nn.compact
    def __call__(self, frames: Array, *, train: bool = False) -> dict[str, Array]:
        """Maps ``[N, H, W, 3]`` uint8 to ``{task: [N, C]}`` as in `AffectHeads`."""
        images = scale_frames(frames, size=self.image_size)
        features = self.encoder(images, train=train)
        return _predict_task(features, self.task)


class SoundRegressor(nn.Module):
    """One task on windows of sound, which trains a small sound encoder from nothing.

    The feature is standardised first: probabilities of many classes are tiny, and
    logits large enough to saturate the tanh.

    Attributes:
      encoder: its variables lift out under that name.
      scale: full scale of the waveform.
      softmax: the feature is the softmax of the object logits, as in `AffectModel`.
      task: as of `FrameRegressor`.
    """

    encoder: SoundNet
    scale: float = 256.0
    softmax: bool = True
    task: str = "va"

    @nn.compact
    def __call__(self, waveform: Array, *, train: bool = False) -> dict[str, Array]:
        """Maps ``[N, S]`` int16 to ``{task: [N, C]}`` as in `AffectHeads`."""
        scaled = scale_waveform(waveform, scale=self.scale)
        objects, _ = self.encoder(scaled, train=train)
        features = sound_feature(objects, softmax=self.softmax)
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            axis_name=varying_axis_name(features),
            name="norm",
        )
        return _predict_task(norm(features), self.task)


def _predict_task(features: Array, task: str) -> dict[str, Array]:
    """A linear layer named for its task; valence and arousal are in ``[-1, 1]``."""
    logits = nn.Dense(OUTPUTS[task], name=task)(features)
    return {task: jnp.tanh(logits) if task == "va" else logits}
