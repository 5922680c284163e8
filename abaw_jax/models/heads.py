"""The trained heads: LSTM, fusion, feature extractor, task heads, task discriminator.

4,714,969 values at the sizes of the paper. It reads features of frozen encoders, so a
round of it is cheap; leaving one of its two streams out is the ablation of the paper.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from abaw_jax.kernels.cross_device import draw_rows, drop
from abaw_jax.kernels.lstm import LSTM
from abaw_jax.models.dense_networks import DenseNetwork, side_by_side
from abaw_jax.reversal import gradient_reversal
from abaw_jax.tasks import ACTION_UNITS, AFFECT, EXPRESSIONS, TASKS

STREAMS = ("image", "sound")
"""Inputs that `AffectHeads` may have."""
FUSIONS = ("concatenate", "sum")
"""How `AffectHeads` joins its streams."""
OUTPUTS = {"va": len(AFFECT), "expr": len(EXPRESSIONS), "au": len(ACTION_UNITS)}
"""Number of outputs by task."""


class AffectHeads(nn.Module):
    """Features of one window to valence-arousal, expression and action units.

    Attributes:
      lstm_size: units of the LSTM over the images.
      extractor_sizes: blocks of the shared feature extractor.
      head_sizes: blocks of each task's head.
      discriminator_sizes: blocks of the task discriminator; None builds none, as in
        the paper's row without discriminator.
      num_domains: classes of the discriminator.
      dropout_rate: of the feature extractor; heads and discriminator have none.
      image_dropout: of the image features. A feature is left out of all images of a
        window, or the others would give it away.
      stream_dropout: share of the rows that train without one of the two streams, each
        as often as the other, so that the network answers without one; "sum" only.
      fusion: "concatenate", as in the paper: one extractor reads both streams. "sum":
        an extractor, heads and a discriminator for each stream, whose logits are summed
        (late fusion).
      streams: which features are read. A stream left out is not built.
      lstm_activation: tanh, or relu as in the authors' code.
      dtype: of the computation; parameters, statistics and outputs are float32.

    References:
      Jeong, Oh and Lim, *Multitask emotion recognition model with knowledge
      distillation and task discriminator*, 2022.
    """

    lstm_size: int = 512
    extractor_sizes: Sequence[int] = (1024, 512)
    head_sizes: Sequence[int] = (256, 128)
    discriminator_sizes: Sequence[int] | None = (64, 32)
    num_domains: int = len(TASKS)
    dropout_rate: float = 0.5
    image_dropout: float = 0.0
    stream_dropout: float = 0.0
    fusion: str = "concatenate"
    streams: Sequence[str] = STREAMS
    lstm_activation: Callable[[Array], Array] = jnp.tanh
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Array | None,
        sound: Array | None,
        *,
        train: bool = False,
        reversal_scale: ArrayLike = 1.0,
    ) -> dict[str, Array]:
        """Predicts all three tasks, whichever of them is labelled.

        Args:
          image: ``[B, T, D]`` features of the images, oldest first; ignored without the
            stream "image". With ``fusion="sum"`` None for a stream that is missing.
          sound: ``[B, K]`` feature of the sound; likewise.
          train: dropout (random stream "dropout") and statistics of this batch.
          reversal_scale: scalar on the reversed gradient; may be traced.

        Returns:
          Float32 arrays: ``va [B, 2]`` in ``[-1, 1]``, ``expr [B, 8]`` logits,
          ``au [B, 12]`` logits, and with a discriminator ``task [B, num_domains]``
          logits.

        Raises:
          ValueError: if a stream is unknown, repeated, or its features do not fit.
        """
        self._check()
        parts = self._read(image, sound, train)
        if self.fusion == "concatenate":
            inputs = {"": tuple(parts.values())}
        else:
            inputs = {f"{stream}_": (part,) for stream, part in parts.items()}
        towers = self._logits(self._extract(inputs, train), train, reversal_scale)
        result = self._add(towers, train)
        result["va"] = jnp.tanh(result["va"])
        return result

    def _extract(
        self, inputs: Mapping[str, tuple[Array, ...]], train: bool
    ) -> dict[str, Array]:
        """Features that heads and discriminator read, of each of the inputs."""
        extractors = [
            DenseNetwork(
                sum(part.shape[-1] for part in parts),
                self.extractor_sizes,
                dropout_rate=self.dropout_rate,
                name=f"{prefix}extractor",
            )
            for prefix, parts in inputs.items()
        ]
        read = [*inputs.values()]
        shared = side_by_side(extractors, read, train=train, dtype=self.dtype)
        return dict(zip(inputs, shared, strict=True))

    def _logits(
        self, shared: Mapping[str, Array], train: bool, reversal_scale: ArrayLike
    ) -> dict[str, dict[str, Array]]:
        """Logits of heads and discriminator on each of the extracted features."""
        heads = {task: (task, self.head_sizes, size) for task, size in OUTPUTS.items()}
        if self.discriminator_sizes is not None:
            sizes, domains = self.discriminator_sizes, self.num_domains
            heads["task"] = ("discriminator", sizes, domains)
        networks, inputs = [], []
        for prefix, x in shared.items():
            reversed_x = gradient_reversal(x, reversal_scale)
            for task, (name, sizes, outputs) in heads.items():
                network = DenseNetwork(x.shape[-1], sizes, outputs, name=prefix + name)
                networks.append(network)
                inputs.append(reversed_x if task == "task" else x)
        logits = iter(side_by_side(networks, inputs, train=train, dtype=self.dtype))
        return {prefix: {task: next(logits) for task in heads} for prefix in shared}

    def _add(
        self, towers: Mapping[str, dict[str, Array]], train: bool
    ) -> dict[str, Array]:
        """Sums logits over streams, in training without one of them for some rows."""
        streams = [*towers]
        if train and self.stream_dropout and len(streams) > 1:
            rng, half = self.make_rng("dropout"), self.stream_dropout / 2
            some = towers[streams[0]]["va"]
            draw = draw_rows(lambda rows: jax.random.uniform(rng, (rows, 1)), some)
            kept = {streams[0]: draw >= half, streams[1]: draw < 1 - half}
            towers = {
                stream: {key: jnp.where(kept[stream], v, 0) for key, v in tower.items()}
                for stream, tower in towers.items()
            }
        return jax.tree.map(lambda *logits: sum(logits), *towers.values())

    def _read(
        self, image: Array | None, sound: Array | None, train: bool
    ) -> dict[str, Array]:
        """Last state of the LSTM, and the sound, which is not normalised."""
        given = {"image": image, "sound": sound}
        streams, parts = self.streams, {}
        if self.fusion == "sum":
            streams = [s for s in streams if given[s] is not None] or streams
        if "image" in streams:
            image = _require("image", "[B, T, D]", 3, image)
            if self.image_dropout:
                same = nn.Dropout(
                    self.image_dropout, broadcast_dims=(1,), deterministic=not train
                )
                image = drop(same, image)
            lstm = LSTM(self.lstm_size, self.lstm_activation, self.dtype, name="lstm")
            parts["image"] = lstm(image)
        if "sound" in streams:
            sound = _require("sound", "[B, K]", 2, sound)
            parts["sound"] = sound.astype(self.dtype)
        # Not len(part), which a batch of any size (`jax.export`) does not have.
        rows = {stream: part.shape[0] for stream, part in parts.items()}
        if len({*rows.values()}) > 1:
            raise ValueError(
                "AffectHeads: images and sounds are not of one batch: "
                f"{rows['image']} windows of images, {rows['sound']} of sound."
            )
        return parts

    def _check(self) -> None:
        streams = tuple(self.streams)
        if (
            not streams
            or set(streams) - set(STREAMS)
            or len(set(streams)) < len(streams)
        ):
            raise ValueError(
                f"AffectHeads: streams must name one or both of {STREAMS}, once each, "
                f"got {streams}."
            )
        if self.fusion not in FUSIONS:
            raise ValueError(
                f"AffectHeads: fusion is {self.fusion!r}; "
                f"choose {' or '.join(FUSIONS)}."
            )
        if self.stream_dropout and self.fusion != "sum":
            raise ValueError(
                "AffectHeads: stream_dropout needs fusion='sum', whose towers can be "
                "left out one by one."
            )


def _require(stream: str, shape: str, ndim: int, features: Array | None) -> Array:
    if features is None or features.ndim != ndim:
        raise ValueError(
            f"AffectHeads: the stream {stream!r} needs features {shape}, got "
            f"{None if features is None else features.shape}."
        )
    return features
