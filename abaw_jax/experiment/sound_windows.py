"""Encodes windows of sound; of dense ones, what they share is computed once a track."""

from collections.abc import Iterator

import jax
import numpy as np
from jax import Array

from abaw_jax.models.soundnet import SoundNet, scale_waveform, sound_feature
from abaw_jax.models.soundnet_track import (
    AFTER,
    BEFORE,
    encode_windows,
    shared_layers,
)
from abaw_jax.pipeline.windows import cut_sound
from abaw_jax.releases.sound_file import SoundFile
from abaw_jax.training.sharding import over_own_devices
from abaw_jax.training.state import Variables

_SPAN = 20  # seconds from the first to the last end of windows that share a piece
_DENSE = 3.0
"""Windows a second from which sharing pays: it takes 770 million multiplications for
a second of the piece, which is half as long again as the span, and saves 424 a window.
"""


class WindowEncoder:
    """Features of windows of a track.

    Attributes:
      columns: of the features.
    """

    def __init__(
        self,
        net: SoundNet,
        variables: Variables,
        *,
        scale: float,
        softmax: bool,
        length: int,
        rate: int,
        batch: int,
        tiled: bool = False,
    ) -> None:
        """Compiles nothing yet.

        Args:
          net: the encoder.
          variables: its own.
          scale: as of `scale_waveform`.
          softmax: as of `sound_feature`.
          length: samples of a window.
          rate: samples a second.
          batch: windows of one call.
          tiled: windows that begin before the track repeat what there is of it, see
            `cut_sound`; these share nothing.
        """
        self.columns = net.objects
        self._length, self._span, self._batch = length, _SPAN * rate, batch
        self._rate, self._tiled = rate, tiled
        own = over_own_devices()
        once = jax.jit(net.inference_variables, out_shardings=own.replicated)
        self._variables = once(variables)

        def scaled(samples: Array) -> Array:
            return scale_waveform(samples, scale=scale)

        def windows(variables: Variables, waveform: Array) -> Array:
            waveform = own.split_rows({"waveform": waveform})["waveform"]
            objects, _ = net.apply(variables, scaled(waveform))
            return sound_feature(objects, softmax=softmax)

        def share(variables: Variables, piece: Array) -> Array:
            return shared_layers(net, variables, scaled(piece[None])[0])

        def of_piece(
            variables: Variables, piece: Array, shared: Array, starts: Array
        ) -> Array:
            starts = own.split_rows({"starts": starts})["starts"]
            samples = scaled(piece[None])[0]
            objects = encode_windows(net, variables, samples, shared, starts, length)
            return sound_feature(objects, softmax=softmax)

        self._windows, self._share = jax.jit(windows), jax.jit(share)
        self._of_piece = jax.jit(of_piece)

    def __call__(self, track: np.ndarray | SoundFile, ends: np.ndarray) -> np.ndarray:
        """Encodes windows of one track.

        Args:
          track: int16 ``[n]``; silence before and behind it.
          ends: sample after the last one of each window ``[N]``, ascending.

        Returns:
          Float32 ``[N, K]``.
        """
        seconds = (ends[-1] - ends[0]) / self._rate if len(ends) else 0
        dense = len(ends) > _DENSE * max(seconds, _SPAN) and not self._tiled
        batches = (self._shared if dense else self._one_by_one)(track, ends)
        return _gather(batches, self.columns)

    def _one_by_one(
        self, track: np.ndarray | SoundFile, ends: np.ndarray
    ) -> Iterator[tuple[Array, int]]:
        for part in _parts(ends, self._batch):
            waveform = np.zeros((self._batch, self._length), np.int16)
            for window, end in zip(waveform, part.tolist(), strict=False):
                cut_sound(track, end, window, tiled=self._tiled)
            yield self._windows(self._variables, waveform), len(part)

    def _shared(
        self, track: np.ndarray | SoundFile, ends: np.ndarray
    ) -> Iterator[tuple[Array, int]]:
        piece = np.empty(BEFORE + self._length + self._span + AFTER, np.int16)
        while len(ends):
            first = ends[0] - self._length - BEFORE
            cut_sound(track, int(first) + len(piece), piece)
            inside = np.searchsorted(ends, ends[0] + self._span, side="right")
            on_device = jax.device_put(piece.copy())
            shared = self._share(self._variables, on_device)
            for part in _parts(ends[:inside], self._batch):
                starts = np.full(self._batch, BEFORE, np.int32)
                starts[: len(part)] = part - self._length - first
                given = on_device, shared, starts
                yield self._of_piece(self._variables, *given), len(part)
            ends = ends[inside:]


def _parts(ends: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(ends), size):
        yield ends[start : start + size]


def _gather(batches: Iterator[tuple[Array, int]], columns: int) -> np.ndarray:
    """All rows; each batch is fetched while the device works on the next one."""
    done, pending = [np.zeros((0, columns), np.float32)], None
    for batch in batches:
        if pending is not None:
            done.append(np.asarray(pending[0], np.float32)[: pending[1]])
        pending = batch
    if pending is not None:
        done.append(np.asarray(pending[0], np.float32)[: pending[1]])
    return np.concatenate(done)
