"""One compiled call that is profiled, and the data that it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from abaw_jax.pipeline.batches import Chunks
from abaw_jax.pipeline.items import Fill
from abaw_jax.pipeline.windows import Samples
from abaw_jax.tasks import ACTION_UNITS, EXPRESSIONS
from abaw_jax.training.sharding import Shardings

SAMPLE_RATE = 22_050
STATE_PASSES = 8
"""Parameters, two moments and gradients, each read once and written once."""


@dataclass(frozen=True)
class Workload:
    """One compiled call.

    Attributes:
      name: of the step.
      call: jitted; a training step gives back the state it took.
      shapes: of all arguments, with shardings.
      draw: makes the arguments themselves.
      rounds: training rounds in one call, or batches.
      rows: samples that one round takes.
      images: that one round encodes, features being none.
      model_flops: that one round needs.
      state_bytes: of parameters, moments and gradients of every update of one round,
        each read once and written once; every device has all of them.
      row_bytes: of the results of the forward products of one round, read once and
        written once; devices share the rows.
      counted: the compiler counts how often each operation runs; of a loop over
        microbatches it does not, and counts one.
      chunks: the input pipeline; ``None`` where there is none to time.
      place: puts a chunk where the call wants it.
    """

    name: str
    call: Any
    shapes: tuple[Any, ...]
    draw: Callable[[], tuple[Any, ...]]
    rounds: int
    rows: int
    images: int
    model_flops: float
    state_bytes: float
    row_bytes: float
    counted: bool = True
    chunks: Chunks | None = None
    place: Callable[[Any], Any] = lambda chunk: chunk


def abstract(tree: Any, sharding: Any) -> Any:
    """Shapes of the leaves of a tree, placed so."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
    )


def placements(shardings: Shardings, batch: int) -> tuple[Any, ...]:
    """Of the arguments of a training step with batches of so many rows."""
    members = shardings.members
    return (
        *(members, members, shardings.replicated, shardings.rows(batch)),
        *(shardings.weights, members, members),
    )


def drawn_samples(name: str, frames: int, images: int) -> Samples:
    """Windows of neighbouring frames with labels of their own set."""
    last = np.arange(images - 1, frames)
    joint = name == "mtl"
    return Samples(
        subject=np.zeros(len(last), np.int32),
        image_rows=(last[:, None] + np.arange(1 - images, 1)).astype(np.int32),
        sound_end=last * 1000,
        va=np.stack([np.sin(last), np.cos(last)], axis=1).astype(np.float32),
        va_where=np.full(len(last), joint or name == "va"),
        expr=(last % len(EXPRESSIONS)).astype(np.int32),
        expr_where=np.full(len(last), joint or name == "expr"),
        au=(last[:, None] % np.arange(2, 2 + len(ACTION_UNITS)) == 0).astype(np.uint8),
        au_where=np.full((len(last), len(ACTION_UNITS)), joint or name == "au"),
    )


def drawn_media(images: int, size: int, length: int) -> Fill:
    """Frames and waveforms out of memory, copied as from a store that is cached."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (64, size, size, 3), np.uint8)
    sound = rng.integers(-(2**15), 2**15, length + 1000, np.int16)

    def fill(samples: Samples) -> dict[str, np.ndarray]:
        starts = samples.sound_end % 1000
        waveform = np.stack([sound[start : start + length] for start in starts])
        return {
            "frames": frames[samples.image_rows % len(frames)],
            "waveform": waveform,
        }

    return fill
